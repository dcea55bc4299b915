import { deleteLink, openRouteSocket } from "../kernel/netlink-route.ts";
import { messageOf } from "../lib/errors.ts";

/** A request to delete a link; the answer has the same id. */
export interface LinkRemoval {
  id: number;
  name: string;
}

export interface LinkRemoved {
  id: number;
  error?: string;
}

declare const self: { addEventListener(type: "message", listener: (event: { data: LinkRemoval }) => void): void; postMessage(message: LinkRemoved): void };

self.addEventListener("message", ({ data }) => {
  try {
    using socket = openRouteSocket();
    socket.request(deleteLink(data.name));
    self.postMessage({ id: data.id });
  } catch (error) {
    const gone = (error as { code?: string }).code === "ENODEV";
    self.postMessage(gone ? { id: data.id } : { id: data.id, error: messageOf(error) });
  }
});
