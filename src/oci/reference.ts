import { invalidArgument } from "../lib/errors.ts";
import { isDigest, type Digest } from "./digest.ts";

/** An image's name after Docker's normalisation: `busybox` is `{ domain: "docker.io", path: "library/busybox" }`. Made only by parseReference. */
export interface Reference {
  /** Registry host with its port, never empty. */
  domain: string;
  /** Repository within the registry. */
  path: string;
  tag?: string;
  digest?: Digest;
}

const defaultDomain = "docker.io";
const officialPrefix = "library/";
/** Longest repository path (distribution/reference, RepositoryNameTotalLengthMax). */
const maxPathLength = 255;

const domainComponent = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const domain = `(?:${domainComponent}(?:\\.${domainComponent})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const pathComponent = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const path = `${pathComponent}(?:/${pathComponent})*`;
const tag = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
const digest = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";

const grammar = new RegExp(`^(${domain})/(${path})(?::(${tag}))?(?:@(${digest}))?$`);
const repositoryGrammar = new RegExp(`^${path}$`);
const tagGrammar = new RegExp(`^${tag}$`);
const identifier = /^[a-f0-9]{64}$/;

/** The longest text worth looking at: domain, path, tag and digest at their limits. */
const maxLength = 4096;

/**
 * Parses `[domain/]path[:tag][@digest]` as Docker does: the domain defaults to docker.io, single names there lie in `library/`, no tag is added.
 * @throws EngineError invalidArgument with Docker's sentence
 */
export function parseReference(text: string): Reference {
  if (identifier.test(text)) throw invalidArgument(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  if (text === "" || text.length > maxLength) throw invalidArgument("invalid reference format");
  const [host, remainder] = splitDomain(text);
  const remote = remainder.split(":", 1)[0]!.split("@", 1)[0]!;
  if (remote.toLowerCase() !== remote) throw invalidArgument(`invalid reference format: repository name (${remote}) must be lowercase`);
  const match = grammar.exec(`${host}/${remainder}`);
  if (match === null) throw invalidArgument("invalid reference format");
  const reference: Reference = { domain: match[1]!, path: match[2]! };
  if (reference.path.length > maxPathLength) {
    throw invalidArgument(`invalid reference format: repository name must not be more than ${maxPathLength} characters`);
  }
  if (match[3] !== undefined) reference.tag = match[3];
  if (match[4] !== undefined) {
    if (!isDigest(match[4])) throw invalidArgument("invalid reference format: unsupported digest or wrong digest length");
    reference.digest = match[4];
  }
  return reference;
}

/** What stands before the first slash is a domain only if it can't be a user's name at docker.io: localhost, a dot, a colon, or an upper-case letter. */
function splitDomain(text: string): [domain: string, remainder: string] {
  const slash = text.indexOf("/");
  if (slash < 0) return [defaultDomain, officialPrefix + text];
  const first = text.slice(0, slash);
  const rest = text.slice(slash + 1);
  const isDomain = first === "localhost" || /[.:]/.test(first) || first.toLowerCase() !== first;
  const host = isDomain && first !== "index.docker.io" ? first : defaultDomain;
  const remainder = isDomain ? rest : text;
  return [host, host === defaultDomain && !remainder.includes("/") ? officialPrefix + remainder : remainder];
}

/** Adds `latest` where there is neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: "latest" } : reference;
}

/** `docker.io/library/x:y@sha256:…` */
export function formatReference(reference: Reference): string {
  return repositoryOf(reference) + suffix(reference);
}

/** As users write it: `x:y`, `user/x`, `localhost:5000/x:y`. */
export function familiarReference(reference: Reference): string {
  return familiarName(reference) + suffix(reference);
}

/** As users write it, without tag and digest. */
export function familiarName({ domain, path }: Reference): string {
  if (domain !== defaultDomain) return `${domain}/${path}`;
  const parts = path.split("/");
  return parts.length === 2 && parts[0] === "library" ? parts[1]! : path;
}

/** `docker.io/library/x` */
export function repositoryOf({ domain, path }: Reference): string {
  return `${domain}/${path}`;
}

function suffix({ tag, digest }: Reference): string {
  return (tag === undefined ? "" : `:${tag}`) + (digest === undefined ? "" : `@${digest}`);
}

/** Whether `text` may name a repository within a registry (distribution-spec, `<name>`). */
export function isRepositoryPath(text: string): boolean {
  return text.length <= maxPathLength && repositoryGrammar.test(text);
}

export function isTag(text: string): boolean {
  return tagGrammar.test(text);
}
