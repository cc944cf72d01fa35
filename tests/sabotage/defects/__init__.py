"""One module per defect: importing it breaks the product. Each is also a pytest plugin: `-p defects.NAME`."""
