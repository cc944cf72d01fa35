import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads the results of a stage up to the present end, with Kafka's client and Avro alone.
 *
 * <p>With a serializer library on the class path (Confluent's KafkaAvroDeserializer, Apicurio's) `value.deserializer`
 * does what `schemaOf` and `decode` do here.
 *
 * <pre>java -cp 'kafka-clients.jar:avro.jar:...' ReadResults.java 127.0.0.1:9092 http://127.0.0.1:8081 TOPIC</pre>
 */
public class ReadResults {
    private static final Map<Integer, Schema> SCHEMAS = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0], registry = arguments[1], topic = arguments[2];
        Properties settings = new Properties();
        settings.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        settings.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        settings.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(info -> new TopicPartition(topic, info.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    String key = record.key() == null ? "-" : new String(record.key());
                    System.out.println(record.partition() + "@" + record.offset() + " " + key + " "
                            + decode(record.value(), registry));
                }
            }
        }
    }

    /** Confluent's framing: a zero byte, the schema id in four bytes, the value in Avro binary. */
    private static GenericRecord decode(byte[] value, String registry) throws Exception {
        ByteBuffer buffer = ByteBuffer.wrap(value);
        if (buffer.get() != 0) {
            throw new IllegalArgumentException("not a framed Avro value");
        }
        Schema schema = schemaOf(buffer.getInt(), registry);
        var decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
        return new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
    }

    private static Schema schemaOf(int id, String registry) throws Exception {
        Schema known = SCHEMAS.get(id);
        if (known == null) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id + "/schema")).build();
            HttpResponse<String> answer =
                    HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                throw new IllegalStateException("the registry has no schema " + id + ": " + answer.body());
            }
            known = new Schema.Parser().parse(answer.body());
            SCHEMAS.put(id, known);
        }
        return known;
    }
}
