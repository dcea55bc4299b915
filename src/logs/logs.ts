import type { Logger } from "../lib/log.ts";
import { createTurns } from "../lib/turns.ts";
import type { LogSource } from "./attributes.ts";
import { endLine } from "./end-line.ts";
import { forwardLog } from "./forward.ts";
import { journaldSink } from "./journald.ts";
import { createKeeper } from "./keep.ts";
import { keepOptionsOf } from "./options.ts";
import { readLog } from "./read.ts";
import type { Sink } from "./sink.ts";
import { syslogSink } from "./syslog.ts";
import type { Logs } from "./types.ts";

/** Reading, bounding, compressing and forwarding of k8s-file logs. */
export function createLogs({ log }: { log: Logger }): Logs {
  const turns = createTurns();
  return {
    read: (logPath, options, ended) => readLog(turns, logPath, options, ended),
    endLine,
    ...createKeeper({ log }),
    async checkReceiver(type, source, signal) {
      await using sink = sinkOf(type, source);
      await sink.connect(signal);
    },
    forward: (type, source, { logPath, ended, hold }) =>
      forwardLog({
        logPath,
        ended,
        sink: sinkOf(type, source),
        hold: source.options["mode"] === "non-blocking" ? undefined : hold,
        // One file is being written, and one is in the making.
        holdAt: Math.max(1, (keepOptionsOf(type, source.options)?.maxFiles ?? 0) - 2),
        turns,
        log,
      }),
  };
}

function sinkOf(type: string, source: LogSource): Sink {
  return type === "journald" ? journaldSink(source) : syslogSink(source);
}
