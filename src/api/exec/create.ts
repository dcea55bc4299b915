import { invalidArgument } from "../../lib/errors.ts";
import { execCreateRequest } from "../containers/schemas.ts";
import { endpoint, json } from "../endpoint.ts";
import { parseDetachKeys } from "../streams/detach-keys.ts";
import type { ExecInspect } from "../types/containers.ts";

export const createExec = endpoint({
  method: "POST",
  path: "/containers/{id}/exec",
  body: execCreateRequest,
  handler: ({ services, params, body, api }) => {
    const { Cmd, ConsoleSize, DetachKeys, ...rest } = body;
    if (Cmd === undefined || Cmd.length === 0) throw invalidArgument("No exec command specified");
    const id = services.containers.execCreate(params.id!, {
      ...rest,
      Cmd,
      ...(DetachKeys ? { detachKeys: parseDetachKeys(DetachKeys) } : {}),
      ...(ConsoleSize === undefined || api < 42 ? {} : { ConsoleSize }),
    });
    return json({ Id: id }, 201);
  },
});

export const inspectExec = endpoint({
  method: "GET",
  path: "/exec/{id}/json",
  handler: ({ services, params }) => {
    const record = services.containers.execInspect(params.id!);
    const answer: ExecInspect = {
      ID: record.id,
      Running: record.running,
      ExitCode: record.exitCode,
      ProcessConfig: {
        tty: record.tty,
        entrypoint: record.entrypoint,
        arguments: record.arguments,
        privileged: record.privileged,
        ...(record.user === "" ? {} : { user: record.user }),
      },
      OpenStdin: record.openStdin,
      OpenStderr: record.openStderr,
      OpenStdout: record.openStdout,
      CanRemove: record.canRemove,
      ContainerID: record.containerId,
      // bytes, which Go writes in base64
      DetachKeys: Buffer.from(record.detachKeys ?? []).toString("base64"),
      Pid: record.pid,
    };
    return json(answer);
  },
});
