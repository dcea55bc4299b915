import type { Client } from "../../client/client.ts";
import { ApiError } from "../../client/errors.ts";
import type { ContainerCreateRequest } from "../../client/types.ts";
import { CliError } from "../errors.ts";
import type { CommandContext } from "../command.ts";
import type { containerFlags } from "./flags.ts";

/** Creates a container for create and run, pulling its image as --pull says; warnings go to stderr. Resolves to its id. */
export async function createContainer(context: CommandContext<typeof containerFlags>, client: Client, request: ContainerCreateRequest): Promise<string> {
  const { flags, io } = context;
  if (!["always", "missing", "never", ""].includes(flags.pull)) {
    throw new CliError(`invalid pull option: '${flags.pull}': must be one of "always", "missing" or "never"`);
  }
  if (flags.cidfile !== "" && (await Bun.file(flags.cidfile).exists())) {
    throw new CliError(`container ID file found, make sure the other container isn't running or delete ${flags.cidfile}`);
  }
  const image = request.Image as string;
  const create = () => client.containers.create(request, { name: flags.name, platform: flags.platform });
  if (flags.pull === "always") await pull(context, client, image);
  let created;
  try {
    created = await create();
  } catch (error) {
    const missing = error instanceof ApiError && error.status === 404 && /no such image/i.test(error.message);
    if (!missing || (flags.pull !== "missing" && flags.pull !== "")) throw error;
    if (!flags.quiet) await io.err.write(`Unable to find image '${await withTag(image)}' locally\n`);
    await pull(context, client, image);
    created = await create();
  }
  for (const warning of created.Warnings ?? []) await io.err.write(`WARNING: ${warning}\n`);
  if (flags.cidfile !== "") await Bun.write(flags.cidfile, created.Id);
  return created.Id;
}

async function pull(context: CommandContext<typeof containerFlags>, client: Client, image: string): Promise<void> {
  const { pullImage } = await import("../image/pull.ts");
  await pullImage({
    client,
    config: context.config,
    image,
    platform: context.flags.platform,
    sink: context.io.err,
    err: context.io.err,
    quiet: context.flags.quiet,
    rows: context.io.windowSize()?.rows,
  });
}

async function withTag(image: string): Promise<string> {
  const { familiarReference, parseReference, withDefaultTag } = await import("../../oci/reference.ts");
  return familiarReference(withDefaultTag(parseReference(image)));
}
