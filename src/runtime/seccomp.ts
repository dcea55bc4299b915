import { z } from "zod";
import { invalidArgument } from "../lib/errors.ts";
import type { SeccompRule, SeccompSpec } from "../oci/runtime-spec.ts";
import { seccompArchitectures, seccompGroups } from "./seccomp-data.ts";

export interface SeccompContext {
  capabilities: readonly string[];
  /** Go's name: amd64, arm64. */
  arch: string;
  /** `6.1.0-18-amd64` */
  kernel: string;
}

const names = z.preprocess((value) => value ?? [], z.array(z.string().max(128)).max(4096));
const condition = z.object({ caps: names, arches: names, minKernel: z.string().nullish() }).partial().nullish();
const rule = z.object({
  names,
  name: z.string().max(128).nullish(),
  action: z.string().max(64),
  errnoRet: z.number().int().nonnegative().nullish(),
  args: z.preprocess(
    (value) => value ?? [],
    z.array(z.object({ index: z.number().int().min(0).max(5), value: z.number(), valueTwo: z.number().nullish(), op: z.string().max(64) })).max(64),
  ),
  includes: condition,
  excludes: condition,
});
const profileShape = z.object({
  defaultAction: z.string().max(64),
  defaultErrnoRet: z.number().int().nonnegative().nullish(),
  architectures: names,
  archMap: z.preprocess((value) => value ?? [], z.array(z.object({ architecture: z.string(), subArchitectures: names })).max(64)),
  flags: names,
  listenerPath: z.string().nullish(),
  listenerMetadata: z.string().nullish(),
  syscalls: z.preprocess((value) => value ?? [], z.array(rule).max(4096)),
});

/** Docker's default profile for one container: unknown calls answer EPERM. */
export function defaultSeccomp(context: SeccompContext): SeccompSpec {
  const syscalls: SeccompRule[] = [];
  for (const group of seccompGroups) {
    const includes = { caps: group.caps, arches: group.arches, minKernel: group.minKernel };
    if (!applies(context, includes, { caps: group.withoutCaps, arches: group.withoutArches })) continue;
    syscalls.push({
      names: group.names.split(" "),
      action: group.errno === undefined ? "SCMP_ACT_ALLOW" : "SCMP_ACT_ERRNO",
      ...(group.errno !== undefined && { errnoRet: group.errno }),
      ...(group.args !== undefined && { args: group.args }),
    });
  }
  return { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 1, architectures: [...(seccompArchitectures[context.arch] ?? [])], syscalls };
}

/** A profile in Docker's own format, as `--security-opt seccomp=` carries it. @throws EngineError invalidArgument */
export function parseSeccomp(text: string, context: SeccompContext): SeccompSpec {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`decoding seccomp profile failed: ${(error as Error).message}`, error);
  }
  const parsed = profileShape.safeParse(json);
  if (!parsed.success) throw invalidArgument(`decoding seccomp profile failed: ${z.prettifyError(parsed.error).replaceAll("\n", " ")}`);
  const profile = parsed.data;
  if (profile.architectures.length > 0 && profile.archMap.length > 0) {
    throw invalidArgument("both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'");
  }
  const native = seccompArchitectures[context.arch]?.[0];
  const mapped = profile.archMap.filter((each) => each.architecture === native).flatMap((each) => [each.architecture, ...each.subArchitectures]);
  const architectures = profile.architectures.length > 0 ? profile.architectures : mapped;
  const syscalls: SeccompRule[] = [];
  for (const each of profile.syscalls) {
    if (each.name && each.names.length > 0) throw invalidArgument("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'");
    if (!applies(context, each.includes ?? {}, each.excludes ?? {})) continue;
    syscalls.push({
      names: each.name ? [each.name] : each.names,
      action: each.action,
      ...(each.errnoRet != null && { errnoRet: each.errnoRet }),
      ...(each.args.length > 0 && { args: each.args.map(({ valueTwo, ...arg }) => ({ ...arg, ...(valueTwo != null && { valueTwo }) })) }),
    });
  }
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet != null && { defaultErrnoRet: profile.defaultErrnoRet }),
    ...(architectures.length > 0 && { architectures }),
    ...(profile.flags.length > 0 && { flags: profile.flags }),
    ...(profile.listenerPath && { listenerPath: profile.listenerPath }),
    ...(profile.listenerMetadata && { listenerMetadata: profile.listenerMetadata }),
    syscalls,
  };
}

interface Condition {
  caps?: string[] | undefined;
  arches?: string[] | undefined;
  minKernel?: string | null | undefined;
}

/** moby's rule: every included capability must be held, one excluded one is enough to drop the group. */
function applies(context: SeccompContext, includes: Condition, excludes: Condition): boolean {
  if (includes.caps?.some((name) => !context.capabilities.includes(name))) return false;
  if (includes.arches?.length && !includes.arches.includes(context.arch)) return false;
  if (includes.minKernel && !isKernelAtLeast(context.kernel, includes.minKernel)) return false;
  if (excludes.caps?.some((name) => context.capabilities.includes(name))) return false;
  if (excludes.arches?.includes(context.arch)) return false;
  return !(excludes.minKernel && isKernelAtLeast(context.kernel, excludes.minKernel));
}

function isKernelAtLeast(kernel: string, wanted: string): boolean {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split(".").map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
