import { conflict } from "../../lib/errors.ts";
import { execStartRequest } from "../containers/schemas.ts";
import { endpoint, type Call } from "../endpoint.ts";
import { AttachedClient } from "../streams/attach.ts";
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
    const record = containers.execInspect(params.id!);
    checkStartable(services, record);
    const tty = body.Tty ?? false;
    const consoleSize = tty && api >= 42 ? body.ConsoleSize : undefined;
    const options = { tty, ...(consoleSize === undefined ? {} : { consoleSize }) };
    if (body.Detach) {
      await containers.execStart(record.id, { detach: true, ...options });
      return { status: 200 };
    }
    const client = new AttachedClient({
      exchange,
      contentType: contentType(tty, api),
      tty,
      stdin: record.openStdin,
      stdout: record.openStdout,
      stderr: record.openStderr,
      detachKeys: parseDetachKeys(record.detachKeys ?? ""),
    });
    try {
      const session = await containers.execStart(
        record.id,
        { detach: false, ...options },
        { stdout: (chunk) => client.output("stdout", chunk), stderr: (chunk) => client.output("stderr", chunk), end: () => {} },
      );
      if (session === undefined) client.end();
      else await client.run(session);
    } catch (error) {
      // the connection is hijacked: Docker puts the reason into the stream, and the exit code into inspect
      services.log.debug("exec failed", { exec: record.id, error });
      client.fail(error);
    }
  },
});

/** What can be known before the connection is hijacked gets a status code. @throws EngineError conflict */
function checkStartable({ containers }: Call["services"], record: ReturnType<Call["services"]["containers"]["execInspect"]>): void {
  if (record.running) throw conflict(`Error: Exec command ${record.id} is already running`);
  if (record.exitCode !== null) throw conflict(`Error: Exec command ${record.id} has already run`);
  const { status } = containers.get(record.containerId).state;
  if (status === "paused") throw conflict(`Container ${record.containerId} is paused, unpause the container before exec`);
  if (status !== "running") throw conflict(`container ${record.containerId} is not running`);
}

export const resizeExec = endpoint({
  method: "POST",
  path: "/exec/{id}/resize",
  handler: async ({ services, params, query }) => {
    await services.containers.execResize(params.id!, size(query, "h", "height"), size(query, "w", "width"));
    return { status: 200 };
  },
});
