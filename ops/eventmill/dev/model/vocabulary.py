"""Which words speak for which category, in several languages: the stand-in's only knowledge of the world.

A word speaks for a category if it begins with one of its stems; in scripts without blanks, if it contains one.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

_STEMS: Mapping[str, str] = {
    "urgent": """urgent asap immediate emergen outage critical deadline cutoff dringend sofort notfall ausfall ausgefall
        eilig eilt frist schnellstmöglich inmediat emergencia avería urgenc immédiat panne subito emergenza spoed
        storing onmiddellijk direct pilne natychmiast срочно авария 緊急 至急 紧急 عاجل متوقف""",
    "meeting": """meeting appointment calendar reschedul schedul agenda invitation termin besprechung treffen verabred
        kalender einladung reunión cita convocatoria rendez-vous rendezvous réunion riunione appuntamento afspraak
        vergadering reunião spotkanie встреч 会議 打ち合わせ 会议 اجتماع""",
    "support": """support help issue problem error broken fail invoice refund order deliver ticket account password
        complain question export login hilfe fehler rechnung bestell liefer kaputt defekt störung reklam vertrag konto
        kunden zähler ayuda pedido factura rota devol aide commande livraison remboursement retour aiuto ordine
        fattura hulp factuur vertraging zamówien reklamac 見積 請求 注文 订单 发票 شحنة طلب заказ""",
    "marketing": """marketing offer discount sale newsletter unsubscribe promo deal webinar demo leads seo campaign
        exclusive angebot rabatt gutschein abmelden sonderaktion oferta descuento gratis premio ganado cheque offre
        remise gratuit offerta sconto korting aanbieding promocj 割引 特典 优惠 促销 عرض скидк""",
    "personal": """personal birthday dinner lunch family weekend congratulat wedding vacation geburtstag familie
        wochenende glückwunsch mittagessen hochzeit urlaub cumpleaños familia boda anniversaire famille mariage
        compleanno famiglia verjaardag urodziny 誕生日 生日 день""",
    "positive": """thank great good love perfect happy excellent danke freundlich super gut gracias excelente merci
        parfait grazie ottimo bedankt dzięk 感谢 ありがとう شكر спасибо""",
    "negative": """bad angry terrible broken fail wrong disappoint never worst schlecht ärger falsch enttäusch mal roto
        mauvais déçu cassé rotto sbagliat slecht schade kwijt źle 差 残念 плох""",
}
# Other words for the same: parts of enum symbols that people use.
_SAME = {
    "urgency": "urgent", "critical": "urgent", "emergency": "urgent", "high": "urgent", "blocker": "urgent",
    "appointment": "meeting", "calendar": "meeting", "scheduling": "meeting", "invitation": "meeting",
    "help": "support", "service": "support", "complaint": "support", "question": "support", "request": "support",
    "promotion": "marketing", "advertising": "marketing", "sales": "marketing", "newsletter": "marketing",
    "spam": "marketing", "private": "personal", "family": "personal",
}  # fmt: skip
# Symbols for what is nothing in particular, the first of them first.
NEUTRAL = ("other", "none", "unknown", "neutral", "normal", "medium", "general", "misc", "default")

_LANGUAGES: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the and you is are was to of in that it for we with this have not please",
        "de": "der die das und ist nicht ich wir sie ein eine mit auf den im bitte für",
        "fr": "le la les et est vous nous je des une dans pour que pas avec votre",
        "es": "el los las y es no que una por con para su del se me lo",
        "it": "il lo gli e è non che una per con del della sono vi mi",
        "nl": "de het een en is niet ik wij u van op dat voor met zijn",
        "pt": "o os as e é não que uma por com para seu do da em",
        "pl": "i w nie na się że to jest do z proszę dla od",
    }.items()
}
# Language, first and last character of the script that it alone is taken to use.
_SCRIPTS = (
    ("ja", "\u3040", "\u30ff"),
    ("zh", "\u4e00", "\u9fff"),
    ("ar", "\u0600", "\u06ff"),
    ("ru", "\u0400", "\u04ff"),
)

SHORTEST_STEM = 3   # letters of a stem that may begin a longer word
_BY_STEM: dict[str, set[str]] = {}
for _category, _words in _STEMS.items():
    for _stem in _words.split():
        _BY_STEM.setdefault(_stem, set()).add(_category)
_UNSPACED = tuple(stem for stem in _BY_STEM if stem[0] > "\u2e80")   # CJK and what follows: words without blanks


@lru_cache(maxsize=1 << 16)
def categories_of(word: str) -> frozenset[str]:
    """Return the categories that a lower-case word speaks for."""
    found = set(_BY_STEM.get(word, ()))
    for end in range(SHORTEST_STEM, len(word)):
        found |= _BY_STEM.get(word[:end], set())
    if word and word[-1] > "\u2e80":
        for stem in _UNSPACED:
            if stem in word:
                found |= _BY_STEM[stem]
    return frozenset(found)


def category_named(part: str) -> str | None:
    """Return the category that a lower-case word names, None where it names none."""
    category = _SAME.get(part, part)
    return category if category in _STEMS else None


def language_of(text: str, words: Counter[str]) -> str:
    """Guess the ISO 639-1 code of a text's language from its script and its commonest words; "en" where none fits."""
    for language, first, last in _SCRIPTS:
        if sum(first <= sign <= last for sign in text[:400]) > 20:
            return language
    scores = {language: sum(words[word] for word in common) for language, common in _LANGUAGES.items()}
    return max(scores, key=lambda language: scores[language])
