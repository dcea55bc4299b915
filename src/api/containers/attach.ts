import { messageOf } from "../../lib/errors.ts";
import { recordsOf } from "../../logs/cri.ts";
import type { StdStream } from "../../logs/types.ts";
import { endpoint, type Call } from "../endpoint.ts";
import { AttachedClient, hijack, type AttachedOptions } from "../streams/attach.ts";
import { parseDetachKeys } from "../streams/detach-keys.ts";
import { contentType } from "../streams/frames.ts";
import { acceptWebSocket } from "../streams/websocket.ts";

interface Wanted {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
}

export const attachContainer = endpoint({
  method: "POST",
  path: "/containers/{id}/attach",
  handler: async (call) => {
    const { query, api, exchange } = call;
    await attach(call, { stdin: query.bool("stdin"), stdout: query.bool("stdout"), stderr: query.bool("stderr") }, (tty) => ({
      connection: hijack(exchange, contentType(tty, api)),
      framed: !tty,
    }));
  },
});

/** Both streams come as they are, without Docker's frames; in binary messages from 1.28 on, in text before. Before 1.42 all three streams were meant. */
export const attachContainerByWebSocket = endpoint({
  method: "GET",
  path: "/containers/{id}/attach/ws",
  handler: async (call) => {
    const { query, api, exchange } = call;
    const all = api < 42;
    const wanted = { stdin: all || query.bool("stdin"), stdout: all || query.bool("stdout"), stderr: all || query.bool("stderr") };
    await attach(call, wanted, () => ({ ...acceptWebSocket(exchange, { text: api < 28 }), framed: false }));
  },
});

async function attach(call: Call, asked: Wanted, open: (tty: boolean) => Pick<AttachedOptions, "connection" | "left" | "framed">): Promise<void> {
  const { services, params, query, exchange } = call;
  const detachKeys = parseDetachKeys(query.text("detachKeys"));
  const { config } = services.containers.get(params.id!);
  const tty = config.Tty === true;
  const wanted = { ...asked, stdin: asked.stdin && config.OpenStdin === true };
  // Docker waits for the end of a container whose stdin is one client's also on behalf of a client that wants no stream
  const streaming = query.bool("stream") && (Object.values(wanted).includes(true) || (config.StdinOnce === true && !tty));

  // dockerode sends its options as a body too: that is no input
  while ((exchange.body.length ?? 0) > 0 && (await exchange.body.read()) !== undefined);

  // Subscribed before the head is out, so that errors still get a status; output that comes before is kept.
  const early: [StdStream, Uint8Array][] = [];
  let client: AttachedClient | undefined;
  const output = (stream: StdStream, chunk: Uint8Array): void => {
    if (client === undefined) early.push([stream, chunk.slice()]);
    else client.output(stream, chunk);
  };
  const listener = { stdout: (chunk: Uint8Array) => output("stdout", chunk), stderr: (chunk: Uint8Array) => output("stderr", chunk), end: () => {} };
  using session = services.containers.attach(params.id!, streaming ? listener : undefined);
  const attached = new AttachedClient({ ...open(tty), signal: exchange.signal, tty, ...wanted, detachKeys });
  try {
    if (query.bool("logs") && (wanted.stdout || wanted.stderr)) {
      // what comes meanwhile has to wait for its turn
      using _hold = streaming ? session.io.hold() : undefined;
      await replay(call, attached, wanted);
    }
  } catch (error) {
    attached.fail(`Error attaching: ${messageOf(error)}`);
    return;
  }
  client = attached;
  for (const [stream, chunk] of early) attached.output(stream, chunk);
  if (streaming) await attached.run(session);
  else attached.end();
}

/** What the container has written so far. */
async function replay({ services, params, signal }: Call, client: AttachedClient, { stdout, stderr }: Wanted): Promise<void> {
  const { records } = services.containers.logs(params.id!, { stdout, stderr, follow: false, signal });
  for await (const batch of records) {
    for (const { stream, bytes } of recordsOf(batch)) client.output(stream, bytes);
    await client.drained();
  }
}
