import type { Endpoint } from "./endpoint.ts";
import { attachContainer } from "./containers/attach.ts";
import { createContainer } from "./containers/create.ts";
import { inspectContainer } from "./containers/inspect.ts";
import {
  deleteContainer,
  killContainer,
  pauseContainer,
  renameContainer,
  restartContainer,
  startContainer,
  stopContainer,
  unpauseContainer,
  updateContainer,
} from "./containers/lifecycle.ts";
import { listContainers } from "./containers/list.ts";
import { containerLogs } from "./containers/logs.ts";
import { containerChanges, pruneContainers, resizeContainer, topContainer } from "./containers/look.ts";
import { waitContainer } from "./containers/wait.ts";
import { createExec, inspectExec } from "./exec/create.ts";
import { resizeExec, startExec } from "./exec/start.ts";
import { events } from "./system/events.ts";
import { info, version } from "./system/info.ts";
import { options, ping, pingHead } from "./system/ping.ts";

/** Everything that is served. Of two patterns that fit a path the first one wins. */
export const endpoints: readonly Endpoint[] = [
  ping,
  pingHead,
  options,
  info,
  version,
  events,

  listContainers,
  createContainer,
  inspectContainer,
  startContainer,
  stopContainer,
  restartContainer,
  killContainer,
  pauseContainer,
  unpauseContainer,
  renameContainer,
  updateContainer,
  waitContainer,
  attachContainer,
  resizeContainer,
  containerLogs,
  topContainer,
  containerChanges,
  pruneContainers,
  deleteContainer,

  createExec,
  inspectExec,
  startExec,
  resizeExec,
];
