"""The API reference."""


def files() -> dict[str, str]:
    return {}
