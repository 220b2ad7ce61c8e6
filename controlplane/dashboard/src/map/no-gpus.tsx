/** What stands where a map would be while there is nothing to draw: how a first GPU comes here. */
import { mayOperate } from "../api/session";
import { CopyLine } from "../components/copy";
import { Empty } from "../components/states";
import { fleet } from "../state/fleet";
import { BASE } from "../url/route";

export function NoGpus() {
  const first = !fleet.value?.clusters.length && mayOperate();
  return (
    <Empty title="No GPU has reported yet" after={
      <>
        {first && <CopyLine text={`curl -X POST ${BASE}api/clusters -H "Authorization: Bearer $GPUFORGE_API_KEY" -H "Content-Type: application/json" -d '{"name": "us-east-prod"}'`} />}
        <p>On each GPU host, with the cluster's <code>api_key</code> in the file <code>key</code>:</p>
        <CopyLine text={`GPUFORGE_API_KEY_FILE=key gpuforge-agent run --control-plane-url ${BASE}`} />
      </>
    }>
      {first && "Make a cluster; the answer holds the key of its agents, this once:"}
    </Empty>
  );
}
