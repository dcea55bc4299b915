import { serveSpawns } from "../lib/spawn-server.ts";
import { answerCalls } from "../lib/worker-calls.ts";
import { createLinkServer } from "../networks/link-calls.ts";

serveSpawns();
answerCalls(createLinkServer());
