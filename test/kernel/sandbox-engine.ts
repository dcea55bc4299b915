import { createFixture } from "./sandbox-fixture.ts";

/** An engine to be killed: makes a container, starts it if told so, tells its spec, then waits. */
const [at = "", runtime = "", mode = "start", ...args] = process.argv.slice(2);
const fixture = await createFixture({ at, runtime });
const spec = fixture.spec(args);
const created = await fixture.sandboxes.create(spec);
if (mode === "start") await created.start();
process.stdout.write(`${JSON.stringify({ spec, pid: created.pid })}\n`);
setInterval(() => {}, 60_000);
