/** What stands where a map would be while there is nothing to draw: how a first GPU comes here. */
import { mayOperate } from "../api/session";
import { CopyLine } from "../components/copy";
import { Install } from "../components/new-key";
import { Empty } from "../components/states";
import { fleet } from "../state/fleet";
import { BASE, href } from "../url/route";

export function NoGpus() {
  const first = !fleet.value?.clusters.length && mayOperate();
  return (
    <Empty title="No GPU has reported yet" after={
      <>
        {first ? (
          <>
            <a class="button primary" href={href("fleet", "?make=1")}>New cluster</a>
            <p>Or from a shell:</p>
            <CopyLine text={`curl -X POST ${BASE}api/clusters -H "Authorization: Bearer $GPUFORGE_API_KEY" -H "Content-Type: application/json" -d '{"name": "us-east-prod"}'`} />
          </>
        ) : <Install />}
      </>
    }>
      {first && "Make a cluster; the answer holds the key of its agents, this once."}
    </Empty>
  );
}
