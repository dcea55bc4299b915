import { messageOf } from "../../lib/errors.ts";
import { execStartRequest } from "../containers/schemas.ts";
import { endpoint } from "../endpoint.ts";
import { AttachedClient, hijack } from "../streams/attach.ts";
import { parseDetachKeys } from "../streams/detach-keys.ts";
import { contentType } from "../streams/frames.ts";
import { size } from "../streams/size.ts";

/** Streams are framed by `Tty` of this request, not by the one at creation: clients rely on that. */
export const startExec = endpoint({
  method: "POST",
  path: "/exec/{id}/start",
  body: execStartRequest,
  handler: async ({ services, params, body, api, exchange }) => {
    const { containers } = services;
    // what can be known before the connection is hijacked gets a status code
    const record = containers.execCheck(params.id!);
    const tty = body.Tty ?? false;
    const consoleSize = tty && api >= 42 ? body.ConsoleSize : undefined;
    const options = consoleSize === undefined ? {} : { consoleSize };
    if (body.Detach) {
      await containers.execStart(record.id, { detach: true, ...options });
      return { status: 200 };
    }
    const client = new AttachedClient({
      connection: hijack(exchange, contentType(tty, api)),
      signal: exchange.signal,
      framed: !tty,
      tty: record.tty,
      stdin: record.openStdin,
      stdout: record.openStdout,
      stderr: record.openStderr,
      detachKeys: record.detachKeys ?? parseDetachKeys(""),
    });
    try {
      using session = await containers.execStart(
        record.id,
        { detach: false, ...options },
        { stdout: (chunk) => client.output("stdout", chunk), stderr: (chunk) => client.output("stderr", chunk), end: () => {} },
      );
      if (session === undefined) client.end();
      else await client.run(session);
    } catch (error) {
      // the connection is hijacked: Docker puts the reason into the stream, and the exit code into inspect
      services.log.debug("exec failed", { exec: record.id, error });
      client.fail(messageOf(error));
    }
  },
});

export const resizeExec = endpoint({
  method: "POST",
  path: "/exec/{id}/resize",
  handler: async ({ services, params, query }) => {
    await services.containers.execResize(params.id!, size(query, "h", "height"), size(query, "w", "width"));
    return { status: 200 };
  },
});
