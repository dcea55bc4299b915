import type { ImageEntry, ListedImage } from "../../images/types.ts";
import { invalidArgument } from "../../lib/errors.ts";
import { endpoint, json, jsonText } from "../endpoint.ts";
import { jsonList } from "../json-list.ts";
import { decodePlatform, platformParam } from "../platform.ts";
import type { Services } from "../services.ts";
import type { AttestationStatement, ImageHistoryItem, ImageManifestSummary, ImageSummary } from "../types/images.ts";
import { toImageInspect, toImageSummary, toManifestSummary } from "./convert.ts";

export const listImages = endpoint({
  method: "GET",
  path: "/images/json",
  handler: async ({ services, query, api }) => {
    const filters = query.filters(["before", "dangling", "label", "label!", "reference", "since", "until"]);
    // clients of 1.24 send a name as `filter`
    const name = api < 25 ? query.optional("filter") : undefined;
    if (name !== undefined) filters.reference ??= [name];
    const manifests = api >= 47 && query.bool("manifests");
    const identity = api >= 54 && query.bool("identity");
    if (identity && !manifests) throw invalidArgument("conflicting options: identity requires manifests=1");
    const records = await services.images.list({ all: query.bool("all"), filters });
    const shared = api >= 42 && query.bool("shared-size") ? await services.images.sharedSizes() : undefined;
    const summaryOf = async (record: ListedImage): Promise<string> => {
      const summary: ImageSummary = toImageSummary(record, {
        api,
        containers: [record, ...record.variants].reduce((sum, { id }) => sum + services.containers.usingImage(id).length, 0),
        sharedSize: shared?.get(record.id) ?? -1,
        descriptor: services.images.descriptor(record),
        manifests: manifests ? await manifestsOf(services, record, identity) : undefined,
      });
      return JSON.stringify(summary);
    };
    return jsonText(await jsonList(records, summaryOf));
  },
});

async function manifestsOf(services: Services, record: ImageEntry, identity: boolean): Promise<ImageManifestSummary[]> {
  const containersOf = ({ id }: ImageEntry): string[] => services.containers.usingImage(id).map((container) => container.id);
  return (await services.images.manifests(record)).map((summary) => toManifestSummary(summary, { containersOf, identity }));
}

export const inspectImage = endpoint({
  method: "GET",
  path: "/images/{name*}/json",
  handler: async ({ services, params, query, api }) => {
    const manifests = api >= 48 && query.bool("manifests");
    const platform = platformParam(query, api, 49);
    if (manifests && platform !== undefined) throw invalidArgument("conflicting options: manifests and platform options cannot both be set");
    const record = services.images.resolve(params.name!, { platform });
    return json(
      toImageInspect(record, {
        api,
        snapshots: services.paths.snapshots,
        descriptor: platform === undefined ? services.images.descriptor(record) : record.manifest,
        manifests: manifests ? await manifestsOf(services, record, api >= 53) : undefined,
      }),
    );
  },
});

export const imageHistory = endpoint({
  method: "GET",
  path: "/images/{name*}/history",
  handler: ({ services, params, query, api }) => {
    const items = services.images.history(params.name!, { platform: platformParam(query, api, 48) }).map((entry): ImageHistoryItem => ({
      Id: entry.id ?? "<missing>",
      Created: entry.createdSeconds,
      CreatedBy: entry.created_by ?? "",
      Tags: entry.tags.length === 0 ? null : entry.tags,
      Size: entry.size,
      Comment: entry.comment ?? "",
    }));
    return json(items);
  },
});

export const imageAttestations = endpoint({
  method: "GET",
  path: "/images/{name*}/attestations",
  since: 55,
  handler: async ({ services, params, query }) => {
    // a list on the wire, of which Docker takes one
    const texts = query.all("platform");
    if (texts.length > 1) throw invalidArgument("only one platform value is currently supported");
    const platform = texts[0] === undefined || texts[0] === "" ? undefined : decodePlatform(texts[0]);
    const types = query.all("type").flatMap((type) => type.trim() || []);
    const found = await services.images.attestations(params.name!, { platform, types, statement: query.bool("statement") });
    return json(
      found.map(({ descriptor, type, statement }): AttestationStatement => ({
        Descriptor: descriptor,
        PredicateType: type,
        ...(statement === undefined ? {} : { Statement: statement }),
      })),
    );
  },
});
