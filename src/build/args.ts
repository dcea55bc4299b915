import type { Platform } from "../oci/image.ts";
import { formatPlatform } from "../oci/platform.ts";

/** Given to RUN without an ARG, and kept out of history and cache keys, since they say how this host reaches the net. */
const proxies = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"];

/** What `ARG TARGETARCH` and its like give without a default: BuildKit's names. */
export function platformArgs(build: Platform, target: Platform): Record<string, string> {
  const of = (prefix: string, platform: Platform): [string, string][] => [
    [`${prefix}PLATFORM`, formatPlatform(platform)],
    [`${prefix}OS`, platform.os],
    [`${prefix}ARCH`, platform.architecture],
    [`${prefix}VARIANT`, platform.variant ?? ""],
  ];
  return Object.fromEntries([...of("BUILD", build), ...of("TARGET", target)]);
}

/** Build arguments: those given by the user, those declared before the first FROM, and those of the stage. */
export class BuildArgs {
  readonly #given: Readonly<Record<string, string | null>>;
  readonly #meta: Map<string, string | undefined>;
  readonly #stage = new Map<string, string | undefined>();
  readonly #declared: Set<string>;

  private constructor(given: Readonly<Record<string, string | null>>, meta: Map<string, string | undefined>, declared: Set<string>) {
    this.#given = given;
    this.#meta = meta;
    this.#declared = declared;
  }

  /** `predefined` are readable before the first FROM, and in a stage that declares them. */
  static create(given: Readonly<Record<string, string | null>>, predefined: Readonly<Record<string, string>>): BuildArgs {
    return new BuildArgs(given, new Map(Object.entries(predefined)), new Set());
  }

  /** For a new stage: nothing is declared in it yet. */
  forStage(): BuildArgs {
    return new BuildArgs(this.#given, this.#meta, this.#declared);
  }

  /** For the state after an ARG: the state before it stays as it was. */
  copy(): BuildArgs {
    const copy = this.forStage();
    for (const [key, value] of this.#stage) copy.#stage.set(key, value);
    return copy;
  }

  declareMeta(key: string, value: string | undefined): void {
    this.#meta.set(key, value ?? this.#meta.get(key));
    this.#declared.add(key);
  }

  declare(key: string, value: string | undefined): void {
    this.#stage.set(key, value);
    this.#declared.add(key);
  }

  /** For FROM and for other ARGs before it. */
  metaVariables(): Map<string, string> {
    return this.#resolve(this.#meta);
  }

  /** For words of a stage's instructions: the environment wins over arguments. */
  variables(environment: readonly string[]): Map<string, string> {
    const variables = this.#resolve(this.#stage);
    for (const entry of environment) variables.set(...splitEntry(entry));
    return variables;
  }

  /** `KEY=value` of the arguments that RUN sees, sorted, without those the environment overrides. `shown` are those for history and cache keys. */
  runEnvironment(environment: readonly string[]): { all: string[]; shown: string[] } {
    const overridden = new Set(environment.map((entry) => splitEntry(entry)[0]));
    const entries = [...this.#resolve(this.#stage)].filter(([key]) => !overridden.has(key)).sort(([a], [b]) => (a < b ? -1 : 1));
    const format = ([key, value]: [string, string]): string => `${key}=${value}`;
    return { all: entries.map(format), shown: entries.filter(([key]) => this.#stage.has(key) || !proxies.includes(key)).map(format) };
  }

  /** Arguments the user gave that nothing declared, sorted. */
  unused(): string[] {
    return Object.keys(this.#given)
      .filter((key) => !this.#declared.has(key) && !proxies.includes(key))
      .sort();
  }

  #resolve(declared: ReadonlyMap<string, string | undefined>): Map<string, string> {
    const values = new Map<string, string>();
    for (const key of new Set([...declared.keys(), ...proxies])) {
      const value = this.#given[key] ?? declared.get(key) ?? (declared.has(key) ? this.#meta.get(key) : undefined);
      if (value !== undefined && value !== null) values.set(key, value);
    }
    return values;
  }
}

function splitEntry(entry: string): [string, string] {
  const at = entry.indexOf("=");
  return at === -1 ? [entry, ""] : [entry.slice(0, at), entry.slice(at + 1)];
}
