import { invalidArgument } from "../lib/errors.ts";
import type { Platform } from "./image.ts";

/** Names of systems and processors that may stand alone in `--platform` (Go's lists, as containerd's platforms package reads them). */
const systems = new Set("aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos".split(" "));
const architectures = new Set(
  (
    "386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le " +
    "ppc riscv riscv64 s390 s390x sparc sparc64 wasm"
  ).split(" "),
);
const component = /^[A-Za-z0-9_.-]+$/;

/** The platform of this host. */
export function hostPlatform(): Platform {
  const names: Record<string, string> = { x64: "amd64", ia32: "386" };
  return normalizePlatform({ os: "linux", architecture: names[process.arch] ?? process.arch });
}

/** One spelling for each platform: `x86_64` is amd64, `aarch64` and `arm64/v8` are arm64, `arm` is arm/v7. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const [architecture, variant] = normalizeArchitecture(platform.architecture.toLowerCase(), (platform.variant ?? "").toLowerCase());
  const result: Platform = { ...platform, architecture, os: os === "macos" ? "darwin" : os };
  if (variant === "") delete result.variant;
  else result.variant = variant;
  return result;
}

function normalizeArchitecture(architecture: string, variant: string): [string, string] {
  switch (architecture) {
    case "i386":
      return ["386", ""];
    case "amd64":
    case "x86_64":
    case "x86-64":
      return ["amd64", variant === "v1" ? "" : variant];
    case "aarch64":
    case "arm64":
      return ["arm64", variant === "8" || variant === "v8" ? "" : variant];
    case "armhf":
      return ["arm", "v7"];
    case "armel":
      return ["arm", "v6"];
    case "arm":
      return ["arm", variant === "" ? "v7" : /^\d$/.test(variant) ? `v${variant}` : variant];
    default:
      return [architecture, variant];
  }
}

/**
 * Parses `os[/arch[/variant]]`, or one of os and arch alone; what is missing is the host's.
 * @throws EngineError invalidArgument
 */
export function parsePlatform(text: string, host: Platform = hostPlatform()): Platform {
  const parts = text.split("/");
  if (parts.length > 3 || !parts.every((part) => component.test(part))) {
    throw invalidArgument(`"${text}": invalid platform: want os[/arch[/variant]]`);
  }
  const [first, architecture, variant] = parts as [string, string?, string?];
  if (architecture !== undefined) return normalizePlatform({ os: first, architecture, ...(variant === undefined ? {} : { variant }) });
  const alone = normalizePlatform({ os: first, architecture: first });
  if (systems.has(alone.os)) return normalizePlatform({ ...host, os: alone.os });
  if (architectures.has(alone.architecture)) return { ...alone, os: host.os };
  throw invalidArgument(`"${text}": unknown operating system or architecture: invalid argument`);
}

/** The platform alone, of what has one among its fields. */
export function platformOf({ architecture, os, variant }: Platform): Platform {
  return { architecture, os, ...(variant ? { variant } : {}) };
}

/** `linux/arm/v7` */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return `${os}/${architecture}${variant ? `/${variant}` : ""}`;
}

/** What a host of `wanted` can run, best first: lower variants, then the 32-bit processor it contains (containerd's `platforms.Only`). */
export function compatiblePlatforms(wanted: Platform): Platform[] {
  const { os, architecture, variant } = normalizePlatform(wanted);
  const vector: Platform[] = [];
  const add = (name: string, level: number, lowest: number, plain: number): void => {
    for (let n = level; n >= lowest; n--) vector.push({ os, architecture: name, ...(n === plain ? {} : { variant: `v${n}` }) });
  };
  const level = variant === undefined ? undefined : Number(/^v(\d+)$/.exec(variant)?.[1] ?? NaN);
  switch (architecture) {
    case "amd64":
      if (Number.isNaN(level)) break;
      add("amd64", level ?? 1, 1, 1);
      vector.push({ os, architecture: "386" });
      return vector;
    case "arm64":
      if (Number.isNaN(level)) break;
      add("arm64", level ?? 8, 8, 8);
      add("arm", 8, 5, -1);
      return vector;
    case "arm":
      if (Number.isNaN(level)) break;
      add("arm", level ?? 7, 5, -1);
      return vector;
  }
  return [{ os, architecture, ...(variant === undefined ? {} : { variant }) }];
}

/** 0 is the best match for a host of `wanted`, higher is worse; undefined where `candidate` can't run there. */
export function platformRank(wanted: Platform, candidate: Platform): number | undefined {
  const { os, architecture, variant } = normalizePlatform(candidate);
  const rank = compatiblePlatforms(wanted).findIndex((p) => p.os === os && p.architecture === architecture && p.variant === variant);
  return rank < 0 ? undefined : rank;
}

/** The item that suits `wanted` best, the first of equals. Items without a platform suit anything, but after those that say so. */
export function selectPlatform<T>(items: readonly T[], platformOf: (item: T) => Platform | undefined, wanted: Platform): T | undefined {
  let best: T | undefined;
  let bestRank = Infinity;
  for (const item of items) {
    const platform = platformOf(item);
    const rank = platform === undefined ? Number.MAX_SAFE_INTEGER : platformRank(wanted, platform);
    if (rank === undefined || rank >= bestRank) continue;
    best = item;
    bestRank = rank;
  }
  return best;
}
