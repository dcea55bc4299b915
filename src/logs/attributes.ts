import { hostname } from "node:os";
import { invalidArgument } from "../lib/errors.ts";
import { clientPattern } from "../lib/match.ts";
import { parseTemplate } from "../lib/template.ts";
import { TemplateError } from "../lib/template-functions.ts";

/** What a log driver knows of a container (moby's logger.Info). */
export interface LogSource {
  id: string;
  /** Without the slash. */
  name: string;
  imageId: string;
  imageName: string;
  /** Entrypoint and command. */
  args: readonly string[];
  env: readonly string[];
  labels: Readonly<Record<string, string>>;
  /** RFC 3339. */
  created: string;
  options: Readonly<Record<string, string>>;
}

/** Labels and variables that the options name, then, where a tag is asked for, that; in Docker's order of overriding. */
export function extraAttributes(source: LogSource, nameOf: (name: string) => string = (name) => name): Map<string, string> {
  const { options, labels } = source;
  const found = new Map<string, string>();
  const env = source.env.flatMap((text): [string, string][] => {
    const at = text.indexOf("=");
    return at < 0 ? [] : [[text.slice(0, at), text.slice(at + 1)]];
  });
  for (const [pairs, kind] of [
    [Object.entries(labels), "labels"],
    [env, "env"],
  ] as const) {
    const names = (options[kind] ?? "").split(",");
    const pattern = options[`${kind}-regex`] ? clientPattern(options[`${kind}-regex`] as string) : undefined;
    for (const [name, value] of pairs) if (names.includes(name)) found.set(nameOf(name), value);
    for (const [name, value] of pairs) if (pattern?.(name) === true) found.set(nameOf(name), value);
  }
  return found;
}

/** What `docker logs --details` shows before each line: attributes and the tag as `k=v,k=v`, sorted and escaped. */
export function logDetails(source: LogSource): string {
  const found = extraAttributes(source);
  if (source.options["tag"]) found.set("tag", logTag(source, ""));
  return [...found]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map((pair) => pair.map((text) => encodeURIComponent(text).replaceAll("%20", "+")).join("="))
    .join(",");
}

/** @throws EngineError invalidArgument where it is no template, or names what there isn't */
export function checkTag(text: string): void {
  const id = "0".repeat(64);
  logTag({ id, name: "x", imageId: `sha256:${id}`, imageName: "x", args: ["x"], env: [], labels: {}, created: "", options: { tag: text } });
}

/** A tag is a word or a line; journald and syslog cut it much earlier. */
const longestTemplate = 4096;
/** Steps, characters and list items: a millisecond or two. */
const mostWork = 16_384;

/** The template of the option `tag` filled in. @throws EngineError invalidArgument */
export function logTag(source: LogSource, fallback = "{{.ID}}"): string {
  const { id, name, imageId, imageName, args, env, labels, created, options } = source;
  const template = options["tag"] || fallback;
  if (template.length > longestTemplate)
    throw invalidArgument(`invalid log tag: its template has ${template.length} characters, at most ${longestTemplate} are allowed`);
  let attributes: Record<string, string> | undefined;
  const short = (digest: string): string => digest.replace(/^sha256:/, "").slice(0, 12);
  const data = {
    ID: short(id),
    FullID: id,
    Name: name,
    ImageID: short(imageId),
    ImageFullID: imageId,
    ImageName: imageName,
    Command: args.join(" "),
    Hostname: hostname(),
    DaemonName: "docker",
    ContainerID: id,
    ContainerName: `/${name}`,
    ContainerEntrypoint: args[0] ?? "",
    ContainerArgs: args.slice(1),
    ContainerImageID: imageId,
    ContainerImageName: imageName,
    ContainerCreated: created,
    ContainerEnv: [...env],
    ContainerLabels: labels,
    Config: options,
    LogPath: "",
    ExtraAttributes: () => (attributes ??= Object.fromEntries(extraAttributes(source))),
  };
  try {
    return parseTemplate(template, mostWork).execute(data);
  } catch (error) {
    if (error instanceof TemplateError) throw invalidArgument(`invalid log tag: ${error.message}`, error);
    throw error;
  }
}
