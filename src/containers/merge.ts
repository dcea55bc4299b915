import type { ContainerConfig } from "../oci/container.ts";
import type { ImageRunConfig } from "../oci/image.ts";
import { invalidArgument } from "../lib/errors.ts";

const empty = (list: readonly unknown[] | null | undefined): boolean => list === undefined || list === null || list.length === 0;
const keyOf = (variable: string): string => variable.split("=", 1)[0] as string;

/** The user's variables, then those of the image that the user didn't name. */
function mergeEnv(user: string[] | null | undefined, image: string[] | null | undefined): string[] | null | undefined {
  if (empty(user)) return image ?? user;
  // an image has a few, a user may have thousands
  const unnamed = new Set((image ?? []).map(keyOf));
  if (unnamed.size > 0) for (const variable of user as string[]) unnamed.delete(keyOf(variable));
  return [...(user as string[]), ...(image ?? []).filter((variable) => unnamed.has(keyOf(variable)))];
}

/**
 * The configuration a container runs with: the client's, completed by its image's as Docker does. An entrypoint given by the client
 * drops the image's command; an empty list (not null) drops the image's entrypoint. @throws EngineError invalidArgument without a command
 */
export function mergeConfig(user: ContainerConfig, image: ImageRunConfig | undefined): ContainerConfig {
  const merged: ContainerConfig = { ...user };
  if (image !== undefined) {
    merged.User = user.User || image.User || "";
    merged.ExposedPorts = mergeKeys(image.ExposedPorts, user.ExposedPorts);
    merged.Volumes = mergeKeys(image.Volumes, user.Volumes);
    merged.Env = mergeEnv(user.Env, image.Env);
    merged.Labels = { ...image.Labels, ...user.Labels };
    merged.WorkingDir = user.WorkingDir || image.WorkingDir || "";
    merged.StopSignal = user.StopSignal || image.StopSignal;
    if (empty(user.Entrypoint)) {
      if (empty(user.Cmd)) merged.Cmd = image.Cmd;
      if (user.Entrypoint === undefined || user.Entrypoint === null) merged.Entrypoint = image.Entrypoint;
    }
    if (image.Healthcheck !== undefined && image.Healthcheck !== null) merged.Healthcheck = mergeHealth(user.Healthcheck, image.Healthcheck);
  }
  if (merged.Entrypoint?.length === 1 && merged.Entrypoint[0] === "") merged.Entrypoint = null;
  if (empty(merged.Entrypoint) && empty(merged.Cmd)) throw invalidArgument("no command specified");
  merged.Labels ??= {};
  if (Object.keys(merged.Volumes ?? {}).length === 0) merged.Volumes = null;
  return merged;
}

function mergeKeys(
  image: Record<string, object> | null | undefined,
  user: Record<string, object> | null | undefined,
): Record<string, object> | null | undefined {
  if (user === undefined || user === null || Object.keys(user).length === 0) return image ?? user;
  return { ...user, ...image };
}

function mergeHealth(user: ContainerConfig["Healthcheck"], image: NonNullable<ImageRunConfig["Healthcheck"]>): ContainerConfig["Healthcheck"] {
  if (user === undefined || user === null) return image;
  return {
    ...user,
    Test: empty(user.Test) ? image.Test : user.Test,
    Interval: user.Interval || image.Interval,
    Timeout: user.Timeout || image.Timeout,
    StartPeriod: user.StartPeriod || image.StartPeriod,
    StartInterval: user.StartInterval || image.StartInterval,
    Retries: user.Retries || image.Retries,
  };
}
