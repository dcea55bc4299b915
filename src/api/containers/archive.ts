import { invalidArgument } from "../../lib/errors.ts";
import type { PathStat } from "../../snapshots/types.ts";
import { endpoint, type Reply } from "../endpoint.ts";
import type { Query } from "../query.ts";
import { sendBytes } from "../streams/bytes.ts";

/** Files into and out of containers: docker cp. */

const path = "/containers/{id}/archive";

export const statArchive = endpoint({
  method: "HEAD",
  path,
  handler: async ({ services, params, query }): Promise<Reply> => ({
    status: 200,
    headers: statHeader(await services.containers.statPath(params.id!, pathOf(query))),
  }),
});

export const getArchive = endpoint({
  method: "GET",
  path,
  handler: ({ services, params, query, exchange, signal }) =>
    services.containers.copyFrom(params.id!, pathOf(query), { signal }, (stat, tar) =>
      sendBytes(exchange, { "Content-Type": "application/x-tar", ...statHeader(stat) }, tar),
    ),
});

export const putArchive = endpoint({
  method: "PUT",
  path,
  handler: async ({ services, params, query, exchange, signal }): Promise<Reply> => {
    await services.containers.copyTo(params.id!, pathOf(query), exchange.body.stream(), {
      toUser: query.bool("copyUIDGID"),
      keepKinds: query.bool("noOverwriteDirNonDir"),
      signal,
    });
    return { status: 200 };
  },
});

/** Bytes as latin1. */
function pathOf(query: Query): string {
  const path = query.bytes("path");
  // Docker's text, its missing space included (moby: httputils.ArchiveFormValues)
  if (path === "") throw invalidArgument("bad parameter: pathcannot be empty");
  return path;
}

function statHeader(stat: PathStat): Record<string, string> {
  return { "X-Docker-Container-Path-Stat": Buffer.from(JSON.stringify(pathStatOf(stat))).toString("base64") };
}

/** Docker's ContainerPathStat. */
export function pathStatOf({ name, size, mode, mtimeSeconds, mtimeNanoseconds, linkTarget }: PathStat): Record<string, unknown> {
  return { name, size, mode: goFileMode(mode), mtime: goTime(mtimeSeconds, mtimeNanoseconds), linkTarget };
}

/** Bits of Go's fs.FileMode by st_mode's file type; those of a plain file are 0. */
const goTypes: Readonly<Record<number, number>> = {
  0o040000: 2 ** 31, // directory
  0o120000: 2 ** 27, // symlink
  0o060000: 2 ** 26, // block device
  0o020000: 2 ** 26 + 2 ** 21, // character device
  0o010000: 2 ** 25, // fifo
  0o140000: 2 ** 24, // socket
};

/** st_mode as Go's fs.FileMode, whose bits differ but for the permissions. */
export function goFileMode(mode: number): number {
  const setuid = (mode & 0o4000) === 0 ? 0 : 2 ** 23;
  const setgid = (mode & 0o2000) === 0 ? 0 : 2 ** 22;
  const sticky = (mode & 0o1000) === 0 ? 0 : 2 ** 20;
  return (goTypes[mode & 0o170000] ?? 0) + setuid + setgid + sticky + (mode & 0o777);
}

/** RFC 3339 with as many digits as are needed, as Go writes a time. Years beyond what it can write are cut. */
function goTime(seconds: number, nanoseconds: number): string {
  const most = Date.UTC(9999, 11, 31) / 1000;
  const whole = new Date(Math.max(Date.UTC(0, 0, 1) / 1000, Math.min(seconds, most)) * 1000).toISOString().slice(0, 19);
  const fraction = nanoseconds === 0 ? "" : `.${String(nanoseconds).padStart(9, "0").replace(/0+$/, "")}`;
  return `${whole}${fraction}Z`;
}
