import { createBuilder } from "../../src/build/builder.ts";
import { silent } from "../../src/lib/log.ts";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { createEngine, plainBuild } from "./containers-fixture.ts";
import { streamOf } from "./storage-fixture.ts";

/** A process to be killed in the middle of a RUN: prints its root, then what the RUN says. */
const engine = await createEngine();
const { store, images, snapshots, sandboxes, events, paths } = engine;
process.stdout.write(`${engine.root}\n`);
await createBuilder({ store, images, snapshots, sandboxes, events, paths, log: silent }).build({
  context: streamOf(tarOf([{ name: "Dockerfile", type: "file", body: "FROM base\nRUN echo 1 > /layer\nCOPY Dockerfile /\nRUN echo started; sleep 1000\n" }])),
  ...plainBuild(),
  onProgress: ({ stream }) => void (stream === "started\n" && process.stdout.write(stream)),
});
