// Clients of npm, as their users write them; prints a JSON object of [text, score] lists by name.
// Arguments: the HTTP root, the gRPC target, the query, the documents.
import { createCohere } from "@ai-sdk/cohere";
import { rerank } from "ai";
import { CohereClient, CohereClientV2 } from "cohere-ai";
import { createVoyage } from "voyage-ai-provider";
import { VoyageAIClient } from "voyageai";

const [root, , query, ...documents] = process.argv.slice(2);
const rows = (results) => results.map((row) => [documents[row.index], row.relevanceScore]);
const ranked = (found) => found.ranking.map((row) => [documents[row.originalIndex], row.score]);

const clients = {
  "npm cohere v2": async () =>
    rows((await new CohereClientV2({ token: "k", environment: root }).rerank({ model: "m", query, documents, topN: 2 })).results),
  "npm cohere v1": async () =>
    rows((await new CohereClient({ token: "k", environment: root }).rerank({ model: "m", query, documents })).results),
  "npm ai-sdk cohere": async () =>
    ranked(await rerank({ model: createCohere({ apiKey: "k", baseURL: `${root}/v2` }).reranking("m"), query, documents, topN: 2 })),
  "npm ai-sdk voyage": async () =>
    ranked(await rerank({ model: createVoyage({ apiKey: "k", baseURL: `${root}/v1` }).reranking("m"), query, documents, topN: 2 })),
  "npm voyageai": async () =>
    rows((await new VoyageAIClient({ apiKey: "k", environment: `${root}/v1` }).rerank({ model: "m", query, documents })).data),
};

const said = {};
for (const [name, call] of Object.entries(clients)) {
  try {
    said[name] = await call();
  } catch (error) {
    said[name] = `${error}`;
  }
}
console.log(JSON.stringify(said));
