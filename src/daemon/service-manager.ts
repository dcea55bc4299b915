import { monotonicNano } from "../kernel/clock.ts";
import { sendToUnix } from "../kernel/socket.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";

/** What started the engine, if it wants to hear how it goes (sd_notify(3)). */
export interface ServiceManager extends Disposable {
  ready(status: string): void;
  reloading(): void;
  /** `seconds`: how long it may take; the manager must not cut it off earlier. */
  stopping(seconds: number): void;
}

/**
 * systemd, or whatever speaks its protocol; nothing is sent where NOTIFY_SOCKET is not set. The variables are taken out of `env`, since they are meant for
 * this process alone. With WATCHDOG_USEC a sign of life is sent twice in that time, from the event loop: an engine that hangs is killed and started anew.
 */
export function takeServiceManager(env: Record<string, string | undefined>, pid: number, log: Logger): ServiceManager {
  const socket = env["NOTIFY_SOCKET"] ?? "";
  const isOurs = env["WATCHDOG_PID"] === undefined || Number(env["WATCHDOG_PID"]) === pid;
  const watchdog = isOurs ? Number(env["WATCHDOG_USEC"] ?? 0) / 1000 : 0;
  for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete env[name];

  const send = (...lines: string[]): void => {
    if (socket === "") return;
    try {
      sendToUnix(socket, Buffer.from(lines.join("\n")));
    } catch (error) {
      log.warn("the service manager can't be told", { message: lines[0], error: messageOf(error) });
    }
  };
  const timer = watchdog >= 1 ? setInterval(() => send("WATCHDOG=1"), watchdog / 2) : undefined;
  timer?.unref();
  return {
    ready: (status) => send("READY=1", `STATUS=${status}`),
    // Type=notify-reload wants to know since when
    reloading: () => send("RELOADING=1", `MONOTONIC_USEC=${monotonicNano() / 1000n}`),
    stopping: (seconds) => send("STOPPING=1", "STATUS=Stopping", `EXTEND_TIMEOUT_USEC=${seconds * 1_000_000}`),
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
