import { invalidArgument, kindOf, unavailable } from "../../lib/errors.ts";
import { labelsOf } from "../../volumes/labels.ts";
import { shownOptions } from "../../volumes/options.ts";
import type { VolumeRecord } from "../../volumes/types.ts";
import { endpoint, json, jsonText, noContent } from "../endpoint.ts";
import { jsonList } from "../json-list.ts";
import { matchesLabels, matchesPattern } from "../match.ts";
import { object, text, textMap } from "../schema.ts";
import { noSwarm } from "../system/absent.ts";
import type { Volume } from "../types/networks.ts";

/** One shape for create, list and inspect: clients compare them. */
export function toVolume(record: VolumeRecord & { status?: Record<string, unknown> }): Volume {
  const labels = labelsOf(record);
  const { given } = record;
  return {
    CreatedAt: record.created,
    Driver: record.driver,
    Labels: Object.keys(labels).length === 0 && given?.labels !== true ? null : labels,
    Mountpoint: record.mountpoint,
    Name: record.name,
    Options: Object.keys(record.options).length === 0 && given?.options !== true ? null : shownOptions(record.options),
    Scope: record.scope ?? "local",
    ...(record.status !== undefined && { Status: record.status }),
  };
}

export const listVolumes = endpoint({
  method: "GET",
  path: "/volumes",
  handler: async ({ services, query }) => {
    const filters = query.filters(["dangling", "driver", "label", "name"]);
    const dangling = danglingOf(filters.dangling);
    const any = (name: string, test: (value: string) => boolean): boolean => filters[name] === undefined || filters[name].some(test);
    const fits = (record: VolumeRecord): boolean =>
      any("driver", (driver) => driver === record.driver) &&
      any("name", (name) => matchesPattern(name, record.name)) &&
      (dangling === undefined || (services.volumes.usersOf(record.name).length === 0) === dangling) &&
      matchesLabels(labelsOf(record), filters.label);
    const { volumes, warnings } = await services.volumes.listAll();
    const listed = await jsonList(volumes, (record) => (fits(record) ? JSON.stringify(toVolume(record)) : undefined));
    return jsonText(`{"Volumes":${listed},"Warnings":${JSON.stringify(warnings.length === 0 ? null : warnings)}}`);
  },
});

/** Undefined: of either kind. */
function danglingOf(values: readonly string[] | undefined): boolean | undefined {
  if (values === undefined) return undefined;
  const [value = ""] = values;
  if (values.length > 1 || !["true", "1", "false", "0"].includes(value)) throw invalidArgument(`invalid filter 'dangling=[${values.join(" ")}]'`);
  return value === "true" || value === "1";
}

export const inspectVolume = endpoint({
  method: "GET",
  path: "/volumes/{name}",
  handler: async ({ services, params }) => json(toVolume(await services.volumes.inspect(params.name!))),
});

export const createVolume = endpoint({
  method: "POST",
  path: "/volumes/create",
  body: object({
    Name: text.optional(),
    Driver: text.optional(),
    DriverOpts: textMap.optional(),
    Labels: textMap.optional(),
    ClusterVolumeSpec: object({}).optional(),
  }),
  handler: async ({ services, body, api }) => {
    // before, the field was unknown, and unknown ones are ignored
    if (body.ClusterVolumeSpec !== undefined && api >= 42) throw unavailable(noSwarm);
    const record = await services.volumes.create({
      ...(body.Name ? { name: body.Name } : {}),
      ...(body.Driver ? { driver: body.Driver } : {}),
      ...(body.Labels === undefined ? {} : { labels: body.Labels }),
      ...(body.DriverOpts === undefined ? {} : { options: body.DriverOpts }),
    });
    return json(toVolume(record), 201);
  },
});

export const deleteVolume = endpoint({
  method: "DELETE",
  path: "/volumes/{name}",
  handler: async ({ services, params, query }) => {
    const force = query.bool("force");
    try {
      await services.volumes.remove(params.name!, { force });
    } catch (error) {
      // with force, what isn't there counts as removed
      if (!force || kindOf(error) !== "notFound") throw error;
    }
    return noContent;
  },
});

export const pruneVolumes = endpoint({
  method: "POST",
  path: "/volumes/prune",
  since: 25,
  handler: async ({ services, query, api }) => {
    // until 1.41 named volumes went too
    const { deleted, spaceReclaimed } = await services.volumes.prune({ all: api < 42, filters: query.filters(["all", "label", "label!"]) });
    return json({ VolumesDeleted: deleted, SpaceReclaimed: spaceReclaimed });
  },
});

export const updateVolume = endpoint({
  method: "PUT",
  path: "/volumes/{name}",
  since: 42,
  handler: () => {
    throw unavailable("volume update only valid for cluster volumes, but swarm is unavailable");
  },
});
