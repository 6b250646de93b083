"""Runs one of our adapters within its framework: prints what it keeps of documents, as JSON.

Usage: adapters.py FRAMEWORK QUERY DOCUMENT...; the second document is marked, to find its metadata again.
"""

import json
import sys

TOP = 2


def langchain(query, documents):
    from langchain_core.documents import Document

    from crossrank.integrations.langchain import CrossrankCompressor

    given = [Document(page_content=text, metadata={"place": place}) for place, text in enumerate(documents)]
    kept = CrossrankCompressor(top_n=TOP).compress_documents(given, query)
    assert all("relevance_score" not in document.metadata for document in given)
    return [(one.page_content, one.metadata["relevance_score"], one.metadata["place"]) for one in kept]


def llama_index(query, documents):
    from llama_index.core.schema import NodeWithScore, TextNode

    from crossrank.integrations.llama_index import CrossrankPostprocessor

    nodes = [NodeWithScore(node=TextNode(text=text), score=float(place)) for place, text in enumerate(documents)]
    kept = CrossrankPostprocessor(top_n=TOP).postprocess_nodes(nodes, query_str=query)
    assert all("retrieval_score" not in node.node.metadata for node in nodes)
    return [(one.node.get_content(), one.score, one.node.metadata["retrieval_score"]) for one in kept]


def haystack(query, documents):
    from haystack import Document, Pipeline

    from crossrank.integrations.haystack import CrossrankRanker

    pipeline = Pipeline()
    pipeline.add_component("ranker", CrossrankRanker(top_k=TOP))
    pipeline = Pipeline.loads(pipeline.dumps(), allowed_modules=["crossrank.*"])
    given = [Document(content=text, score=float(place)) for place, text in enumerate(documents)]
    kept = pipeline.run({"ranker": {"query": query, "documents": given}})["ranker"]["documents"]
    assert all("retrieval_score" not in document.meta for document in given)
    return [(one.content, one.score, one.meta["retrieval_score"]) for one in kept]


if __name__ == "__main__":
    framework, query, *documents = sys.argv[1:]
    print(json.dumps(globals()[framework](query, documents)))
