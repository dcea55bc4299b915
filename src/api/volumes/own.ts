import type { VolumeRecord } from "../../volumes/types.ts";
import type { Exchange } from "../http/connection.ts";
import { endpoint, json } from "../endpoint.ts";
import type { Query } from "../query.ts";
import { object, text, textMap } from "../schema.ts";
import type { Services } from "../services.ts";
import { sendBytes } from "../streams/bytes.ts";
import { ProgressStream } from "../streams/progress.ts";
import { toVolume } from "./volumes.ts";

/** Berth's own endpoints for volumes. */

/** What people are told while it goes on, at most so often (milliseconds). */
const tellEvery = 100;

/** Gives a volume the name `name`; its containers know it by that from then on. */
export const renameVolume = endpoint({
  method: "POST",
  path: "/berth/volumes/{name}/rename",
  handler: async ({ services, params, query }) => json(toVolume(await services.containers.renameVolume(params.name!, query.text("name")))),
});

const copyBody = object({ Name: text.optional(), Labels: textMap.optional() });

/** A new volume `Name` with the same files. JSON lines as pull has them, the last with the volume as `aux.volume`, and with `aux.warning` where the copy may not be of one moment. With `pause`, containers that write to it are frozen meanwhile. */
export const cloneVolume = endpoint({
  method: "POST",
  path: "/berth/volumes/{name}/clone",
  body: copyBody,
  handler: async ({ services, params, query, body, exchange, signal }) =>
    await copying({ services, exchange, query, volume: params.name!, verb: "Cloning" }, (onProgress) =>
      services.volumes.clone(params.name!, body.Name ?? "", { labels: body.Labels ?? {}, signal, onProgress }),
    ),
});

/** As `clone`, but the copy is read-only, and known as a snapshot of the volume: it has the label `berth.snapshot.of`. `Name` may be left out. */
export const snapshotVolume = endpoint({
  method: "POST",
  path: "/berth/volumes/{name}/snapshot",
  body: copyBody,
  handler: async ({ services, params, query, body, exchange, signal }) =>
    await copying({ services, exchange, query, volume: params.name!, verb: "Copying" }, (onProgress) =>
      services.volumes.snapshot(params.name!, body.Name ?? "", { labels: body.Labels ?? {}, signal, onProgress }),
    ),
});

/** Gives the volume that the snapshot is of (or volume `to`) the snapshot's files again. JSON lines as of `clone`. */
export const restoreVolume = endpoint({
  method: "POST",
  path: "/berth/volumes/{name}/restore",
  handler: async ({ services, params, query, exchange, signal }) =>
    await copying({ services, exchange, verb: "Restoring" }, (onProgress) =>
      services.volumes.restoreSnapshot(params.name!, { to: query.text("to"), signal, onProgress }),
    ),
});

interface Copying {
  services: Services;
  exchange: Exchange;
  verb: string;
  /** Whose writers matter, and whether they are to be frozen. */
  volume?: string;
  query?: Query;
}

async function copying(
  { services, exchange, verb, volume, query }: Copying,
  work: (onProgress: (current: number, total: number) => void) => Promise<VolumeRecord>,
): Promise<void> {
  const progress = new ProgressStream(exchange);
  let toldAt = 0;
  const onProgress = (current: number, total: number): void => {
    const now = performance.now();
    if (now - toldAt < tellEvery) return;
    toldAt = now;
    void progress.send({ status: verb, id: volume ?? verb, progressDetail: { current, total } });
  };
  await progress.run(async () => {
    const pause = query?.bool("pause") === true;
    const writers = volume === undefined || pause ? [] : services.containers.writersOf(volume).map(({ name }) => name);
    const record = volume !== undefined && pause ? await services.containers.holdStill(volume, () => work(onProgress)) : await work(onProgress);
    // what is known only at the end: Warning is the word of create's answer
    const warning = `${writers.join(", ")} could write to ${volume} meanwhile: the copy may have some files as they were before a change and some as after it (pause, --pause, prevents that)`;
    await progress.send({ aux: { volume: toVolume(record), ...(writers.length > 0 && { warning }) } });
  });
}

/** All files of a volume as a tar archive. With `pause`, containers that write to it are frozen meanwhile. */
export const exportVolume = endpoint({
  method: "GET",
  path: "/berth/volumes/{name}/export",
  handler: async ({ services, params, query, exchange, signal }) => {
    const send = (): Promise<void> =>
      services.volumes.exportTo(params.name!, { signal }, (tar) => sendBytes(exchange, { "Content-Type": "application/x-tar" }, tar));
    if (query.bool("pause")) await services.containers.holdStill(params.name!, send);
    else await send();
  },
});

/** A volume with the files of the archive in the body, plain or compressed: a new one, one that is empty, or with `force` one that loses what is in it. */
export const importVolume = endpoint({
  method: "POST",
  path: "/berth/volumes/{name}/import",
  handler: async ({ services, params, query, exchange, signal }) => {
    const labels = Object.fromEntries(
      query.all("label").map((label) => [label.split("=", 1)[0]!, label.includes("=") ? label.slice(label.indexOf("=") + 1) : ""]),
    );
    return json(toVolume(await services.volumes.importFrom(params.name!, exchange.body.stream(), { force: query.bool("force"), labels, signal })));
  },
});
