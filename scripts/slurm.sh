#!/usr/bin/env bash
# Proof on a real SLURM: a run in four shards, one of them killed in the middle, ends in the records of one process.
# As root on Debian, with the extra `slurm` installed: bash scripts/slurm.sh. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
work=$(mktemp -d)
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "install"
command -v slurmctld slurmd sbatch munged >/dev/null ||
    { apt-get update -qq && apt-get install -y -qq slurmd slurmctld slurm-client munge >/dev/null; }

step "one node"
host=$(hostname -s)
install -d -o munge -m 755 /run/munge
[ -s /etc/munge/munge.key ] || { head -c 1024 /dev/urandom >/etc/munge/munge.key && chmod 400 /etc/munge/munge.key; }
chown munge: /etc/munge/munge.key
mkdir -p "$work"/{state,spool,log} /etc/slurm
cat >"$work/slurm.conf" <<CONF
ClusterName=proof
SlurmctldHost=$host(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldLogFile=$work/log/slurmctld
SlurmdLogFile=$work/log/slurmd
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
# submitit asks sacct for the state of a job, which needs accounting: what the controller knows is enough here.
mkdir "$work/bin"
cat >"$work/bin/sacct" <<'SACCT'
#!/usr/bin/env bash
echo "JobID|State|NodeList"
scontrol --oneliner show job | sed -En 's/^JobId=([0-9]+) (ArrayJobId=([0-9]+) ArrayTaskId=([0-9]+) )?.*JobState=([A-Z]+).* NodeList=(\S+).*/\1 \3_\4 \5 \6/p' |
    while read -r job task state node; do [ "$task" = _ ] && task=$job; echo "$task|$state|$node"; done
SACCT
chmod +x "$work/bin/sacct"
export PATH=$work/bin:$PATH
runuser -u munge -- munged
slurmctld -c && slurmd
trap 'kill $(cat "$work/slurmctld.pid" "$work/slurmd.pid" /run/munge/munged.pid) 2>/dev/null; echo "left in $work"' EXIT
for _ in $(seq 30); do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 1; done
sinfo

run=(data.subset=16 certify.batch=256 method=rddrs_paper method.samples=2000 method.iterations=50 train.epochs=5)
slurm=(hydra/launcher=slurm hydra.launcher.cpus_per_task=1 shard.count=4 shard.index=0,1,2,3)

step "one process"
"$python" -m pipelines.run "${run[@]}" output_root="$work/one"

step "four shards as SLURM jobs; the second is killed once it has finished an input"
"$python" -m pipelines.run --multirun "${run[@]}" "${slurm[@]}" output_root="$work/four" >"$work/log/first" 2>&1 &
first=$!
while ! compgen -G "$work/four/runs/*/regions/22.safetensors" >/dev/null; do sleep 0.2; kill -0 $first; done
squeue
scancel --signal=KILL "$(squeue -h -r -o '%F_%K' | grep '_1$')"
wait $first && { echo "a killed job must not end well" >&2; exit 1; } || echo "ended with status $?"
tail -n 5 "$work/log/first"
while squeue -h | grep -q .; do sleep 1; done   # the others go on
echo "finished: $(ls "$work"/four/runs/*/regions | wc -l) of 16 inputs"

step "the same command again"
"$python" -m pipelines.run --multirun "${run[@]}" "${slurm[@]}" output_root="$work/four"

step "compare"
"$python" - "$work" <<'PYTHON'
import sys
from pathlib import Path

import pandas as pd

one, four = (pd.read_parquet(next(Path(sys.argv[1], name, "runs").glob("*/records.parquet"))) for name in ("one", "four"))
seconds = ["optimize_seconds", "certify_seconds"]
pd.testing.assert_frame_equal(one.drop(columns=seconds), four.drop(columns=seconds), check_exact=True)
print(f"{len(one)} records x {one.shape[1] - 2} columns are identical: one process, and four shards of which one was killed")
PYTHON
