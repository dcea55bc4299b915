import type { Command } from "./command.ts";

/**
 * Every command, with nothing but what finding it takes: a command's code is loaded when it is called. A group (`container`) has no code.
 * Order is the order of help.
 */
export interface CommandEntry {
  /** Path: `container run`. */
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** Where top-level help lists it: by default under Commands. */
  readonly section?: "common" | "management";
  readonly load?: () => Promise<Command>;
}

export const commands: readonly CommandEntry[] = [
  {
    name: "container run",
    aliases: ["run"],
    section: "common",
    summary: "Create and run a new container from an image",
    load: async () => (await import("./container/run.ts")).run,
  },
  {
    name: "container exec",
    aliases: ["exec"],
    section: "common",
    summary: "Execute a command in a running container",
    load: async () => (await import("./container/exec.ts")).exec,
  },
  {
    name: "container ls",
    aliases: ["ps", "container list", "container ps"],
    section: "common",
    summary: "List containers",
    load: async () => (await import("./container/ls.ts")).ls,
  },
  {
    name: "image build",
    aliases: ["build", "builder build"],
    section: "common",
    summary: "Build an image from a Dockerfile",
    load: async () => (await import("./image/build.ts")).build,
  },
  {
    name: "image pull",
    aliases: ["pull"],
    section: "common",
    summary: "Download an image from a registry",
    load: async () => (await import("./image/pull.ts")).pull,
  },
  {
    name: "image push",
    aliases: ["push"],
    section: "common",
    summary: "Upload an image to a registry",
    load: async () => (await import("./image/push.ts")).push,
  },
  { name: "image ls", aliases: ["images", "image list"], section: "common", summary: "List images", load: async () => (await import("./image/ls.ts")).ls },
  { name: "login", section: "common", summary: "Authenticate to a registry", load: async () => (await import("./system/login.ts")).login },
  { name: "logout", section: "common", summary: "Log out from a registry", load: async () => (await import("./system/logout.ts")).logout },
  { name: "search", section: "common", summary: "Search Docker Hub for images", load: async () => (await import("./image/search.ts")).search },
  { name: "version", section: "common", summary: "Show the version of client and engine", load: async () => (await import("./system/version.ts")).version },
  {
    name: "system info",
    aliases: ["info"],
    section: "common",
    summary: "Display system-wide information",
    load: async () => (await import("./system/info.ts")).info,
  },

  { name: "builder", section: "management", summary: "Manage builds" },
  { name: "container", section: "management", summary: "Manage containers" },
  { name: "context", section: "management", summary: "Manage contexts" },
  { name: "image", section: "management", summary: "Manage images" },
  { name: "network", section: "management", summary: "Manage networks" },
  { name: "registry", section: "management", summary: "Run a registry of your own" },
  { name: "system", section: "management", summary: "Manage Berth" },
  { name: "volume", section: "management", summary: "Manage volumes" },

  {
    name: "container attach",
    aliases: ["attach"],
    summary: "Attach local standard input, output and error streams to a running container",
    load: async () => (await import("./container/attach.ts")).attach,
  },
  {
    name: "container commit",
    aliases: ["commit"],
    summary: "Create a new image from a container's changes",
    load: async () => (await import("./container/commit.ts")).commit,
  },
  { name: "completion", summary: "Print the completion script for a shell", load: async () => (await import("./system/completion.ts")).completion },
  {
    name: "container cp",
    aliases: ["cp"],
    summary: "Copy files between a container and the local file system",
    load: async () => (await import("./container/cp.ts")).cp,
  },
  { name: "container create", aliases: ["create"], summary: "Create a new container", load: async () => (await import("./container/create.ts")).create },
  {
    name: "container diff",
    aliases: ["diff"],
    summary: "Inspect changes to files or directories on a container's file system",
    load: async () => (await import("./container/diff.ts")).diff,
  },
  {
    name: "system dial-stdio",
    summary: "Proxy the stdio stream to the engine's connection (run by ssh:// clients)",
    load: async () => (await import("./system/dial-stdio.ts")).dialStdio,
  },
  {
    name: "system events",
    aliases: ["events"],
    summary: "Get real time events from the engine",
    load: async () => (await import("./system/events.ts")).events,
  },
  {
    name: "container export",
    aliases: ["export"],
    summary: "Export a container's file system as a tar archive",
    load: async () => (await import("./container/export.ts")).exportContainer,
  },
  { name: "image history", aliases: ["history"], summary: "Show the history of an image", load: async () => (await import("./image/history.ts")).history },
  {
    name: "image import",
    aliases: ["import"],
    summary: "Import the contents from a tar archive to create an image",
    load: async () => (await import("./image/import.ts")).importImage,
  },
  { name: "inspect", summary: "Return low-level information on objects of any kind", load: async () => (await import("./system/inspect.ts")).inspect },
  { name: "container kill", aliases: ["kill"], summary: "Kill one or more running containers", load: async () => (await import("./container/kill.ts")).kill },
  {
    name: "image load",
    aliases: ["load"],
    summary: "Load an image from a tar archive or standard input",
    load: async () => (await import("./image/load.ts")).load,
  },
  { name: "container logs", aliases: ["logs"], summary: "Fetch the logs of a container", load: async () => (await import("./container/logs.ts")).logs },
  {
    name: "container pause",
    aliases: ["pause"],
    summary: "Pause all processes within one or more containers",
    load: async () => (await import("./container/pause.ts")).pause,
  },
  {
    name: "container port",
    aliases: ["port"],
    summary: "List port mappings or a specific mapping for the container",
    load: async () => (await import("./container/port.ts")).port,
  },
  { name: "container rename", aliases: ["rename"], summary: "Rename a container", load: async () => (await import("./container/rename.ts")).rename },
  {
    name: "container restart",
    aliases: ["restart"],
    summary: "Restart one or more containers",
    load: async () => (await import("./container/restart.ts")).restart,
  },
  {
    name: "container rm",
    aliases: ["rm", "container remove"],
    summary: "Remove one or more containers",
    load: async () => (await import("./container/rm.ts")).rm,
  },
  { name: "image rm", aliases: ["rmi", "image remove"], summary: "Remove one or more images", load: async () => (await import("./image/rm.ts")).rm },
  {
    name: "image save",
    aliases: ["save"],
    summary: "Save one or more images to a tar archive (to standard output by default)",
    load: async () => (await import("./image/save.ts")).save,
  },
  {
    name: "container start",
    aliases: ["start"],
    summary: "Start one or more stopped containers",
    load: async () => (await import("./container/start.ts")).start,
  },
  {
    name: "container stats",
    aliases: ["stats"],
    summary: "Display a live stream of the resource usage of containers",
    load: async () => (await import("./container/stats.ts")).stats,
  },
  { name: "container stop", aliases: ["stop"], summary: "Stop one or more running containers", load: async () => (await import("./container/stop.ts")).stop },
  {
    name: "image copy",
    summary: "Copy an image to or from another engine, without a registry",
    load: async () => (await import("./image/copy.ts")).copy,
  },
  {
    name: "image tag",
    aliases: ["tag"],
    summary: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    load: async () => (await import("./image/tag.ts")).tag,
  },
  {
    name: "container top",
    aliases: ["top"],
    summary: "Display the running processes of a container",
    load: async () => (await import("./container/top.ts")).top,
  },
  {
    name: "container unpause",
    aliases: ["unpause"],
    summary: "Unpause all processes within one or more containers",
    load: async () => (await import("./container/unpause.ts")).unpause,
  },
  {
    name: "container update",
    aliases: ["update"],
    summary: "Update configuration of one or more containers",
    load: async () => (await import("./container/update.ts")).update,
  },
  {
    name: "container wait",
    aliases: ["wait"],
    summary: "Block until one or more containers stop, then print their exit codes",
    load: async () => (await import("./container/wait.ts")).wait,
  },

  { name: "builder prune", summary: "Remove build cache", load: async () => (await import("./builder/prune.ts")).prune },
  {
    name: "container inspect",
    summary: "Display detailed information on one or more containers",
    load: async () => (await import("./container/inspect.ts")).inspect,
  },
  { name: "container prune", summary: "Remove all stopped containers", load: async () => (await import("./container/prune.ts")).prune },
  { name: "context create", summary: "Create a context", load: async () => (await import("./context/create.ts")).create },
  {
    name: "context export",
    summary: "Export a context to a tar archive FILE, or to standard output with FILE -",
    load: async () => (await import("./context/export.ts")).exportContext,
  },
  {
    name: "context import",
    summary: "Import a context from a tar archive, or from standard input with -",
    load: async () => (await import("./context/import.ts")).importContext,
  },
  {
    name: "context inspect",
    summary: "Display detailed information on one or more contexts",
    load: async () => (await import("./context/inspect.ts")).inspect,
  },
  { name: "context ls", aliases: ["context list"], summary: "List contexts", load: async () => (await import("./context/ls.ts")).ls },
  { name: "context rm", aliases: ["context remove"], summary: "Remove one or more contexts", load: async () => (await import("./context/rm.ts")).rm },
  { name: "context show", summary: "Print the name of the current context", load: async () => (await import("./context/show.ts")).show },
  { name: "context update", summary: "Update a context", load: async () => (await import("./context/update.ts")).update },
  { name: "context use", summary: "Set the current context", load: async () => (await import("./context/use.ts")).use },
  { name: "image inspect", summary: "Display detailed information on one or more images", load: async () => (await import("./image/inspect.ts")).inspect },
  { name: "image prune", summary: "Remove unused images", load: async () => (await import("./image/prune.ts")).prune },
  { name: "network check", summary: "Check networks, and repair them", load: async () => (await import("./network/check.ts")).check },
  { name: "network connect", summary: "Connect a container to a network", load: async () => (await import("./network/connect.ts")).connect },
  { name: "network create", summary: "Create a network", load: async () => (await import("./network/create.ts")).create },
  { name: "network disconnect", summary: "Disconnect a container from a network", load: async () => (await import("./network/disconnect.ts")).disconnect },
  {
    name: "network inspect",
    summary: "Display detailed information on one or more networks",
    load: async () => (await import("./network/inspect.ts")).inspect,
  },
  { name: "network ls", aliases: ["network list"], summary: "List networks", load: async () => (await import("./network/ls.ts")).ls },
  { name: "network prune", summary: "Remove all unused networks", load: async () => (await import("./network/prune.ts")).prune },
  { name: "network rm", aliases: ["network remove"], summary: "Remove one or more networks", load: async () => (await import("./network/rm.ts")).rm },
  { name: "registry serve", summary: "Serve images to pull and push", load: async () => (await import("./registry/serve.ts")).serve },
  { name: "system check", summary: "Check what is stored, and repair it", load: async () => (await import("./system/check.ts")).check },
  { name: "system df", summary: "Show disk usage", load: async () => (await import("./system/df.ts")).df },
  { name: "system prune", summary: "Remove unused data", load: async () => (await import("./system/prune.ts")).prune },
  { name: "system stop", summary: "Stop all containers, as at the host's shutdown", load: async () => (await import("./system/stop.ts")).stopAll },
  { name: "volume clone", summary: "Copy a volume", load: async () => (await import("./volume/clone.ts")).clone },
  { name: "volume create", summary: "Create a volume", load: async () => (await import("./volume/create.ts")).create },
  { name: "volume export", summary: "Write a volume's files as a tar archive", load: async () => (await import("./volume/export.ts")).exportVolume },
  { name: "volume import", summary: "Fill a volume from a tar archive", load: async () => (await import("./volume/import.ts")).importVolume },
  { name: "volume inspect", summary: "Display detailed information on one or more volumes", load: async () => (await import("./volume/inspect.ts")).inspect },
  { name: "volume ls", aliases: ["volume list"], summary: "List volumes", load: async () => (await import("./volume/ls.ts")).ls },
  { name: "volume prune", summary: "Remove unused local volumes", load: async () => (await import("./volume/prune.ts")).prune },
  { name: "volume rename", summary: "Rename a volume", load: async () => (await import("./volume/rename.ts")).rename },
  { name: "volume restore", summary: "Give a volume the files of a snapshot", load: async () => (await import("./volume/restore.ts")).restore },
  { name: "volume rm", aliases: ["volume remove"], summary: "Remove one or more volumes", load: async () => (await import("./volume/rm.ts")).rm },
  { name: "volume snapshot", summary: "Make a snapshot of a volume", load: async () => (await import("./volume/snapshot.ts")).snapshot },
  { name: "volume snapshots", summary: "List snapshots of volumes", load: async () => (await import("./volume/snapshots.ts")).snapshots },
];

/** Every path an entry answers to. */
export function pathsOf(entry: CommandEntry): string[] {
  return [entry.name, ...(entry.aliases ?? [])];
}

/** The entry whose path begins `words`, the longest first, and how many words that took. */
export function findCommand(words: readonly string[]): { entry: CommandEntry; path: string; length: number } | undefined {
  for (const length of [2, 1]) {
    if (words.length < length) continue;
    const path = words.slice(0, length).join(" ");
    const entry = commands.find((candidate) => pathsOf(candidate).includes(path));
    if (entry !== undefined) return { entry, path, length };
  }
  return undefined;
}

/** Subcommands of a group, by the last word of their path, with the entry each names. */
export function childrenOf(group: string): { word: string; entry: CommandEntry }[] {
  const children: { word: string; entry: CommandEntry }[] = [];
  for (const entry of commands) {
    const path = pathsOf(entry).find((candidate) => candidate.startsWith(`${group} `));
    if (path !== undefined) children.push({ word: path.slice(group.length + 1), entry });
  }
  return children.sort((a, b) => (a.word < b.word ? -1 : 1));
}
