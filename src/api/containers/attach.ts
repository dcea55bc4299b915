import type { AttachSession } from "../../containers/types.ts";
import { conflict, invalidArgument } from "../../lib/errors.ts";
import type { StdStream } from "../../logs/types.ts";
import { endpoint, type Call } from "../endpoint.ts";
import { AttachedClient } from "../streams/attach.ts";
import { parseDetachKeys } from "../streams/detach-keys.ts";
import { contentType } from "../streams/frames.ts";

export const attachContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/attach",
  handler: async (call) => {
    const { services, params, query, api, exchange } = call;
    const record = services.containers.get(params.id!);
    const { status } = record.state;
    if (status === "paused") throw conflict(`container ${record.id} is paused, unpause the container before attach`);
    if (status === "restarting") throw conflict(`container ${record.id} is restarting, wait until the container is running`);
    const keys = parseDetachKeys(query.text("detachKeys"));
    const tty = record.config.Tty ?? false;
    const streaming = query.bool("stream");
    const wanted = { stdin: query.bool("stdin") && streaming, stdout: query.bool("stdout"), stderr: query.bool("stderr") };
    if (wanted.stdin && !record.config.OpenStdin) wanted.stdin = false;

    // Subscribed before the head is out, so that errors still get a status; output that comes before is kept.
    const early: [StdStream, Uint8Array][] = [];
    let client: AttachedClient | undefined;
    const output = (stream: StdStream, chunk: Uint8Array): void => {
      if (client === undefined) early.push([stream, chunk.slice()]);
      else client.output(stream, chunk);
    };
    let session: AttachSession | undefined;
    if (streaming) {
      session = services.containers.attach(record.id, {
        stdout: (chunk) => output("stdout", chunk),
        stderr: (chunk) => output("stderr", chunk),
        end: () => {},
      });
    }
    const attached = new AttachedClient({ exchange, contentType: contentType(tty, api), tty, ...wanted, detachKeys: keys });
    if (query.bool("logs")) {
      // what comes meanwhile has to wait for its turn
      using _hold = session?.io.hold();
      await replay(call, attached, record.id, wanted);
    }
    client = attached;
    for (const [stream, chunk] of early) attached.output(stream, chunk);
    if (session === undefined) attached.end();
    else await attached.run(session);
  },
});

/** What the container has written so far. */
async function replay({ services, signal }: Call, client: AttachedClient, id: string, wanted: { stdout: boolean; stderr: boolean }): Promise<void> {
  if (!wanted.stdout && !wanted.stderr) throw invalidArgument("you must choose at least one stream");
  const { records } = services.containers.logs(id, { stdout: wanted.stdout, stderr: wanted.stderr, follow: false, signal });
  for await (const batch of records) {
    for (const { stream, bytes } of batch) client.output(stream, bytes);
    await client.drained();
  }
}
