"""Questions about one thing or another, in words drawn by chance."""

WORDS = {
    "refunds": "refund return order parcel money days week card gift shop late open",
    "invoices": "invoice VAT export ledger quarter audit tax account number PDF copy",
    "german": "Rechnung Bestellung zurück schicken Geschäft bezahlen Woche Paket",
}
FRAMES = {
    "refunds": "How long does the {} take when my {} is with the {} of the {}?",
    "invoices": "Where can I find the {} for the {} with its {} and the {}?",
    "german": "Wie kann ich die {} mit der {} nach einer {} noch {} lassen?",
}


def question(rng, topic="refunds"):
    words = WORDS[topic].split()
    return FRAMES[topic].format(*rng.choices(words, k=4)) + " Please." * rng.randint(
        0, 3
    )
