/** sd_listen_fds(3): how many sockets, from descriptor 3 on, were handed over to this very process. */
export function socketsHandedOver(): number {
  const { env } = process;
  return Number(env["LISTEN_PID"]) === process.pid ? Number(env["LISTEN_FDS"] ?? 0) : 0;
}
