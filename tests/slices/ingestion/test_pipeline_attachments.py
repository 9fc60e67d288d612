"""What is inside a mail becomes documents of its own, two levels deep, in the same operation."""

from collections.abc import AsyncIterator
from email.message import EmailMessage

import pytest
import pytest_asyncio

from tests.app_client import App, open_app

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    async with open_app(tmp_path_factory.mktemp("attachments")) as opened:
        yield opened


def mail(subject: str, *attachments: tuple[str, bytes]) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", subject
    message["Date"] = "Sat, 01 Nov 2025 10:00:00 +0000"
    message.set_content(f"This letter is about {subject}.")
    for name, content in attachments:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


async def all_documents(app: App) -> dict[str, dict[str, object]]:
    answer = await app.client.get("/api/v1/collections/default/documents", params={"limit": 200})
    return {item["name"]: item for item in answer.json()["items"]}


async def test_two_levels_are_followed_and_the_third_is_left_out_with_a_warning(app: App) -> None:
    third = mail("gannets", ("too-deep.txt", b"This text about petrels is too deep."))
    second = mail("puffins", ("third.eml", third), ("note.txt", b"A note about skuas."))
    first = mail("auks", ("second.eml", second))
    accepted = await app.upload(("first.eml", first), tags="post")
    operation = await app.settle(accepted["operation_id"])
    documents = await all_documents(app)
    assert set(documents) == {"first.eml", "second.eml", "third.eml", "note.txt"}
    assert {document["status"] for document in documents.values()} == {"ready"}
    assert documents["first.eml"]["parent_id"] is None
    assert documents["second.eml"]["parent_id"] == documents["first.eml"]["id"]
    assert documents["third.eml"]["parent_id"] == documents["note.txt"]["parent_id"] == documents["second.eml"]["id"]
    assert {tuple(document["tags"]) for document in documents.values()} == {("post",)}  # type: ignore[arg-type]
    assert {document["operation_id"] for document in documents.values()} == {operation["id"]}
    assert (operation["done"], operation["total"], operation["failed_count"]) == (4, 4, 0)
    warnings = [event["data"] for event in await app.events(operation["id"]) if event["type"] == "warning"]
    assert [(warning["name"], "too-deep.txt" in warning["message"]) for warning in warnings] == [("third.eml", True)]
    assert await app.names_found("skuas", mode="sparse") == ["note.txt"]
    assert await app.names_found("petrels", mode="sparse") == []


async def test_a_bad_attachment_fails_alone(app: App) -> None:
    letter = mail("terns", ("tool.exe", b"\x7fELF" + b"\0" * 200), ("list.csv", b"bird,count\nfulmar,3\n"))
    accepted = await app.upload(("terns.eml", letter))
    operation = await app.settle(accepted["operation_id"])
    documents = await all_documents(app)
    assert (operation["state"], operation["failed_count"]) == ("completed", 1)
    assert documents["terns.eml"]["status"] == documents["list.csv"]["status"] == "ready"
    assert documents["tool.exe"]["failure"]["code"] == "unsupported"  # type: ignore[index]


async def test_deleting_the_mail_takes_its_attachments_with_it(app: App) -> None:
    accepted = await app.upload(("gone.eml", mail("shearwaters", ("inner.txt", b"All about guillemots."))))
    await app.settle(accepted["operation_id"])
    assert await app.names_found("guillemots", mode="sparse") == ["inner.txt"]
    answer = await app.client.delete(f"/api/v1/documents/{accepted['documents'][0]['id']}")
    assert await app.names_found("guillemots", mode="sparse") == []
    await app.settle(answer.json()["operation_id"])
    assert not {"gone.eml", "inner.txt"} & set(await all_documents(app))


async def test_the_same_mail_again_makes_no_second_attachment(app: App) -> None:
    letter = mail("knots", ("once.txt", b"Seen once: the phalarope."))
    accepted = await app.upload(("knots.eml", letter))
    await app.settle(accepted["operation_id"])
    again = await app.upload(("knots.eml", letter))
    assert again["operation_id"] is None
    assert again["documents"][0]["duplicate_of"] == accepted["documents"][0]["id"]
    assert await app.names_found("phalarope", mode="sparse") == ["once.txt"]
