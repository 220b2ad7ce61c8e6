/** What stands where a map would be while there is nothing to draw. */
import { may } from "../api/session";
import { CopyLine } from "../components/copy";
import { Empty } from "../components/states";
import { BASE } from "../url/route";

export const NoGpus = () => (
  <Empty title="No GPU has reported yet">
    {may("write") ? "Make a cluster; its answer holds the key that its agents use. Then on each GPU host:" : "On each GPU host, with the cluster's key:"}
    <CopyLine text={`GPUFORGE_API_KEY_FILE=key gpuforge-agent run --control-plane-url ${BASE}`} />
  </Empty>
);
