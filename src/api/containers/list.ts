import { listFilters } from "../../containers/list.ts";
import type { ContainerRecord } from "../../containers/types.ts";
import { kindOf } from "../../lib/errors.ts";
import { createLimiter } from "../../lib/limiter.ts";
import { endpoint, jsonText } from "../endpoint.ts";
import { jsonList } from "../json-list.ts";
import type { Services } from "../services.ts";
import type { ApiVersion } from "../versions.ts";
import { statusText, toSummary } from "./convert.ts";

/** Containers whose trees are walked at once, for their sizes. */
const atOnce = 8;

interface SummaryContext {
  api: ApiVersion;
  imageName: string;
  linkNames: readonly string[];
}

export const listContainers = endpoint({
  method: "GET",
  path: "/containers/json",
  handler: async ({ services, query, api }) => {
    const filters = query.filters([...listFilters]);
    const limit = query.int("limit");
    const records = services.containers.list({
      all: query.bool("all"),
      size: query.bool("size"),
      filters,
      ...(limit === undefined || limit <= 0 ? {} : { limit }),
    });
    const imageName = imageNames(services);
    const linkNames = services.containers.linkNames();
    const contextOf = (record: ContainerRecord): SummaryContext => ({ api, imageName: imageName(record), linkNames: linkNames.get(record.id) ?? [] });
    if (!query.bool("size")) return jsonText(await jsonList(records, (record) => summaryText(services, record, contextOf(record))));
    const walks = createLimiter(() => atOnce);
    const summaries = records.map(async (record) => {
      using _walk = await walks.enter();
      const sizes = await sizesOf(services, record);
      return JSON.stringify(toSummary(record, services.containers.networkSettings(record), { ...contextOf(record), sizes }));
    });
    return jsonText(`[${(await Promise.all(summaries)).join(",")}]`);
  },
});

/** A summary as JSON. All but its status, which tells the time, is kept as text until something of the container changes. */
function summaryText(services: Services, record: ContainerRecord, context: SummaryContext): string {
  const network = services.containers.networkSettings(record);
  const kind = [context.api, context.imageName, ...context.linkNames].join(" ");
  if (network.kept.list?.kind !== kind) {
    const fields = Object.entries(toSummary(record, network, context));
    const at = fields.findIndex(([name]) => name === "Status");
    const [before, after] = [fields.slice(0, at), fields.slice(at + 1)].map((part) => JSON.stringify(Object.fromEntries(part)));
    network.kept.list = { kind, pieces: [`${before!.slice(0, -1)},"Status":`, `,${after!.slice(1)}`] };
  }
  return network.kept.list.pieces.join(JSON.stringify(statusText(record)));
}

/** One that is removed meanwhile takes no space. */
async function sizesOf({ containers }: Services, { id }: ContainerRecord): Promise<{ rw: number; rootFs: number }> {
  try {
    return await containers.sizes(id);
  } catch (error) {
    if (kindOf(error) !== "notFound") throw error;
    return { rw: 0, rootFs: 0 };
  }
}

/** The name a container's image was asked for by, as long as that still is the same image; else the image's id. Each name is looked up once. */
function imageNames(services: Services): (record: ContainerRecord) => string {
  const ids = new Map<string, string[]>();
  return (record) => {
    const name = record.config.Image ?? "";
    if (name === "" || record.imageId.includes(name)) return name || record.imageId;
    if (!ids.has(name)) {
      try {
        ids.set(
          name,
          services.images.named(name).map(({ id }) => id),
        );
      } catch (error) {
        if (kindOf(error) === "internal") throw error;
        ids.set(name, []);
      }
    }
    return ids.get(name)!.includes(record.imageId) ? name : record.imageId;
  };
}
