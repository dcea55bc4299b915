/** Something that is wrong with networks, in plain words. */
export interface NetworkProblem {
  kind: "host" | "rules" | "network" | "container" | "port" | "dns";
  /** Names, where it is one network's or container's (the container's by its id). */
  network?: string;
  container?: string;
  /** `hint`: it may do harm, or it is meant so; the rest works. */
  level: "problem" | "hint";
  problem: string;
  /** What to do about it. */
  next?: string;
  /** What was done about it. */
  repaired?: string;
}

export interface NetworkReport {
  checked: { networks: number; containers: number; ports: number };
  problems: NetworkProblem[];
}

/** As it is found. `repair` is there where it can do no harm; it says what it did. */
export interface Finding extends Omit<NetworkProblem, "repaired" | "level"> {
  level?: NetworkProblem["level"];
  repair?: () => string | Promise<string>;
}

export interface NetworkCheckOptions {
  repair: boolean;
  /** Containers that are known and don't run: theirs is nothing. */
  atRest: ReadonlySet<string>;
}
