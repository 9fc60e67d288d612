"""Answers and summaries over HTTP."""

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from perplex_mono.answers.schemas import Answer, AnswerRequest, Summary
from perplex_mono.answers.service import AnswerService
from perplex_mono.answers.summaries import SummaryService
from perplex_mono.web.callers import READ


class AnswerController(Controller):
    """Questions to the library."""

    path = "/api/v1"
    tags = ("answers",)

    @post("/answers", opt=READ, status_code=200, summary="Answer a question with citations")
    async def answer(
        self, data: JSONBody[AnswerRequest], answers: NamedDependency[AnswerService], owner_id: NamedDependency[str]
    ) -> Answer:
        """The answer, each sentence with the place on the page it rests on."""
        return await answers.answer(data, owner_id)

    @post("/documents/{document_id:str}/summary", opt=READ, status_code=200, summary="Summarize a document")
    async def summarize(
        self, document_id: FromPath[str], summaries: NamedDependency[SummaryService], owner_id: NamedDependency[str]
    ) -> Summary:
        """The sentences that say most of what it says."""
        return await summaries.summarize(document_id, owner_id)
