import { build, cancelBuild, pruneBuild } from "./build/build.ts";
import { getArchive, putArchive, statArchive } from "./containers/archive.ts";
import { attachContainer, attachContainerByWebSocket } from "./containers/attach.ts";
import { createContainer } from "./containers/create.ts";
import { commitContainer, exportContainer } from "./containers/image.ts";
import { inspectContainer, inspectLinked } from "./containers/inspect.ts";
import {
  deleteContainer,
  deleteLink,
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
import { containerStats } from "./containers/stats.ts";
import { waitContainer } from "./containers/wait.ts";
import type { Endpoint } from "./endpoint.ts";
import { createExec, inspectExec } from "./exec/create.ts";
import { resizeExec, startExec } from "./exec/start.ts";
import { deleteImage, pruneImages, tagImage } from "./images/change.ts";
import { imageAttestations, imageHistory, inspectImage, listImages } from "./images/look.ts";
import { searchImages } from "./images/search.ts";
import { copyImage, missingLayers, offeredLayer, offerImage, receiveLayer } from "./images/copy.ts";
import { createImage, loadImages, pushImage, saveImage, saveImages } from "./images/transfer.ts";
import {
  connectNetwork,
  createNetwork,
  deleteNetwork,
  disconnectNetwork,
  inspectNetwork,
  listNetworks,
  listNetworksSlash,
  pruneNetworks,
} from "./networks/networks.ts";
import { checkNetworks } from "./networks/check.ts";
import { absent } from "./system/absent.ts";
import { checkStorage } from "./system/check.ts";
import { debugVars } from "./system/debug.ts";
import { diskUsage } from "./system/df.ts";
import { events } from "./system/events.ts";
import { info, version } from "./system/info.ts";
import { metrics } from "./system/metrics.ts";
import { options, ping, pingHead } from "./system/ping.ts";
import { stopAllContainers } from "./system/stop-all.ts";
import { auth, inspectDistribution } from "./system/registries.ts";
import { cloneVolume, exportVolume, importVolume, renameVolume, restoreVolume, snapshotVolume } from "./volumes/own.ts";
import { createVolume, deleteVolume, inspectVolume, listVolumes, pruneVolumes, updateVolume } from "./volumes/volumes.ts";

/** Everything that is served. Of two patterns that fit a path the first one wins. */
export const endpoints: readonly Endpoint[] = [
  ping,
  pingHead,
  options,
  info,
  version,
  events,
  diskUsage,
  auth,
  stopAllContainers,
  checkStorage,
  checkNetworks,
  offerImage,
  offeredLayer,
  missingLayers,
  receiveLayer,
  copyImage,
  metrics,
  debugVars,
  inspectDistribution,

  listContainers,
  createContainer,
  inspectContainer,
  inspectLinked,
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
  attachContainerByWebSocket,
  resizeContainer,
  containerLogs,
  containerStats,
  exportContainer,
  statArchive,
  getArchive,
  putArchive,
  commitContainer,
  topContainer,
  containerChanges,
  pruneContainers,
  deleteContainer,
  deleteLink,

  createExec,
  inspectExec,
  startExec,
  resizeExec,

  listImages,
  createImage,
  searchImages,
  saveImages,
  loadImages,
  pruneImages,
  inspectImage,
  imageHistory,
  imageAttestations,
  saveImage,
  pushImage,
  tagImage,
  deleteImage,
  build,
  pruneBuild,
  cancelBuild,

  listNetworks,
  listNetworksSlash,
  createNetwork,
  pruneNetworks,
  inspectNetwork,
  deleteNetwork,
  connectNetwork,
  disconnectNetwork,

  listVolumes,
  createVolume,
  pruneVolumes,
  inspectVolume,
  deleteVolume,
  updateVolume,
  renameVolume,
  cloneVolume,
  snapshotVolume,
  restoreVolume,
  exportVolume,
  importVolume,

  ...absent,
];
