import type { ImageSummary } from "../../client/types.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { humanSize, shortId } from "../format/human.ts";
import { formatTable } from "../format/table.ts";

/**
 * `images --tree`: below each image the platforms that its index names, those too that aren't here. U marks those in use by containers; of what is attested
 * of them only the size counts.
 */
export function imageTree(images: readonly ImageSummary[], whole: boolean): string {
  const id = (digest: string): string => (whole ? digest : shortId(digest));
  const rows = [["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"]];
  for (const image of images) {
    const manifests = image.Manifests ?? [];
    const content = manifests.reduce((sum, { Size: size }) => sum + size.Content, 0);
    const users = manifests.some(({ ImageData: data }) => (data?.Containers ?? []).length > 0) || image.Containers > 0;
    const names = (image.RepoTags ?? []).filter((name) => name !== "<none>:<none>");
    for (const name of names.length === 0 ? ["<untagged>"] : names) {
      rows.push([name, id(image.Id), humanSize(image.Size, 3), humanSize(content, 3), users ? "U" : ""]);
    }
    const platforms = manifests.flatMap(({ ID: digest, Size: size, ImageData: data }) => (data === undefined ? [] : [{ digest, size, data }]));
    for (const [at, { digest, size, data }] of platforms.entries()) {
      const name = `${at === platforms.length - 1 ? "└─" : "├─"} ${formatPlatform(data.Platform)}`;
      rows.push([name, id(digest), humanSize(size.Total, 3), humanSize(size.Content, 3), (data.Containers ?? []).length > 0 ? "U" : ""]);
    }
  }
  return formatTable(rows);
}
