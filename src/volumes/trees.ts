import type { Download, Upload } from "../lib/lent.ts";
import type { IdMap } from "../oci/id-map.ts";

/** What is done with whole trees of files, off the main thread and without leaving them: snapshots/ has it. */
export interface Trees {
  /** Copies what is in directory `from`, and its own attributes, to the empty directory `to`; on the disk when it resolves. `onProgress`: bytes of files. */
  cloneTree(from: string, to: string, options?: { onProgress?: (bytes: number) => void; signal?: AbortSignal }): Promise<void>;
  /** Removes it with all in it, however deep. @throws EngineError where something can't be removed: the rest stays */
  removeTree(tree: string): Promise<void>;
  /** Bytes of its files, each hard-linked one once. */
  treeSize(tree: string): Promise<number>;
  /** The tree as an archive, its root directory first. `settled`: nothing reads it any more. `idMap`: whose ids the files have on disk. */
  wholeTar(tree: string, options: { idMap?: IdMap; signal?: AbortSignal }): { tar: Download; settled: () => Promise<void> };
  /** The opposite, into the empty directory `tree`, of any archive (plain or compressed); on the disk when it resolves. */
  extractWhole(tree: string, archive: Upload, options: { idMap?: IdMap; signal?: AbortSignal }): Promise<void>;
}
