import type { ImageSummary } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import { ago, goTime, humanSize, shortId } from "../format/human.ts";
import { writeList, type ListFormat, type Row } from "../format/output.ts";
import { parseFilters } from "../parse/filters.ts";
import { imageTree } from "./tree.ts";

const format: ListFormat = {
  headings: {
    Repository: "REPOSITORY",
    Tag: "TAG",
    Digest: "DIGEST",
    ID: "IMAGE ID",
    CreatedSince: "CREATED",
    CreatedAt: "CREATED AT",
    Size: "SIZE",
    Containers: "CONTAINERS",
    SharedSize: "SHARED SIZE",
    UniqueSize: "UNIQUE SIZE",
    VirtualSize: "SIZE",
  },
  columns: ["Repository", "Tag", "ID", "CreatedSince", "Size"],
  shrinkable: ["Repository", "Tag"],
  quiet: "ID",
};

export const ls = defineCommand({
  name: "image ls",
  aliases: ["images", "image list"],
  summary: "List images",
  usage: "[REPOSITORY[:TAG]]",
  flags: {
    all: { type: "bool", short: "a", help: "Show all images (default hides intermediate images)" },
    digests: { type: "bool", help: "Show digests" },
    filter: { type: "list", short: "f", help: "Filter output based on conditions provided", value: "filter" },
    format: { type: "string", help: "Format output: 'table', 'table TEMPLATE', 'json' or a Go template" },
    "no-trunc": { type: "bool", help: "Don't truncate output" },
    quiet: { type: "bool", short: "q", help: "Only show image IDs" },
    tree: { type: "bool", help: "List the platforms of each image below it, those too that aren't here" },
  },
  args: { min: 0, max: 1 },
  completes: "image",
  async run({ flags, args, client, io, config }) {
    for (const other of ["quiet", "digests", "format"] as const) {
      if (flags.tree && flags[other]) throw new CliError(`--tree can't be used with --${other}`);
    }
    const [engine, { imagesFormat }] = await Promise.all([client(), config.file()]);
    const template = flags.format || (flags.quiet ? "" : (imagesFormat ?? ""));
    const filters = parseFilters(flags.filter);
    const images = await engine.images.list({
      all: flags.all,
      digests: flags.digests,
      manifests: flags.tree,
      filters: args[0] === undefined ? filters : { ...filters, reference: [...(filters.reference ?? []), args[0]] },
    });
    const whole = flags["no-trunc"];
    if (flags.tree) return await io.out.write(imageTree(images, whole));
    const digests = flags.digests || /\.Digest\b/.test(template);
    const rows = images.flatMap((image) => imageRows(image, { whole, digests }));
    const columns = flags.digests ? ["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"] : format.columns;
    const unique = flags.quiet ? rows.filter((row, index) => rows.findIndex((other) => other.ID === row.ID) === index || template !== "") : rows;
    await writeList(io.out, unique, { ...format, columns }, { format: template, quiet: flags.quiet, whole });
  },
});

/** A row for each name; an image without any is shown once, as `<none>`. */
function imageRows(image: ImageSummary, { whole, digests }: { whole: boolean; digests: boolean }): Row[] {
  const tags = (image.RepoTags ?? []).filter((name) => name !== "<none>:<none>");
  const repoDigests = (image.RepoDigests ?? []).filter((name) => name !== "<none>@<none>").map((name) => splitAt(name, name.indexOf("@")));
  const common = {
    ID: whole ? image.Id : shortId(image.Id),
    CreatedSince: ago(image.Created),
    Size: humanSize(image.Size, 3),
    VirtualSize: humanSize(image.Size, 3),
    Containers: image.Containers < 0 ? "N/A" : String(image.Containers),
    SharedSize: image.SharedSize < 0 ? "N/A" : humanSize(image.SharedSize, 3),
    UniqueSize: image.SharedSize < 0 ? "N/A" : humanSize(image.Size - image.SharedSize, 3),
  };
  const row = (Repository: string, Tag: string, Digest: string): Row => ({
    Repository,
    Tag,
    Digest,
    ...common,
    // Reading the time zone costs 5 ms: only for those who ask.
    get CreatedAt() {
      return goTime(image.Created * 1000);
    },
  });
  if (tags.length === 0) {
    if (repoDigests.length === 0) return [row("<none>", "<none>", "<none>")];
    return repoDigests.slice(0, digests ? undefined : 1).map(([repository, digest]) => row(repository, "<none>", digest));
  }
  return tags.map((name) => {
    const [repository, tag] = splitAt(name, name.lastIndexOf(":"));
    return row(repository, tag, repoDigests.find(([other]) => other === repository)?.[1] ?? "<none>");
  });
}

function splitAt(text: string, at: number): [string, string] {
  return [text.slice(0, at), text.slice(at + 1)];
}
