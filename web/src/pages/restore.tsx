// Restore as a new machine: what, where, check, run. The daemon checks the whole request before anything is begun.
import { Anchor, Button, Checkbox, Group, NativeSelect, Stack, Stepper, Text, TextInput } from '@mantine/core'
import { useInfiniteQuery, useMutation, useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { api, body, type Host, type Job, type RecoveryPoint } from '../api/client'
import { hostsQuery, pointQuery, pointsQuery } from '../api/queries'
import { bytes, enumWords, idOf, machineIds, num, time } from '../logic/format'
import { defaultName, emptyPlan, problemsOf, reachable, restoreJob, stepAfter, stepBefore, STEPS, type Plan, type Step } from '../logic/wizard'
import { Field, Loaded, Notice, Page, Problem } from '../ui/parts'
import { useZone } from '../ui/preferences'

const WORDS: Record<Step, string> = { what: 'What', where: 'Where', check: 'Check and run' }

export default function Restore() {
  const { point: first = '' } = useParams()
  const [plan, setPlan] = useState<Plan>(() => emptyPlan(`recoveryPoints/${first}`))
  const [wanted, setWanted] = useState<Step>('what')
  const point = useQuery(pointQuery(idOf(plan.point)))
  const step = reachable(wanted, plan, point.data)
  const problems = problemsOf(step, plan, point.data)
  const change = (part: Partial<Plan>) => setPlan((before) => ({ ...before, ...part }))
  const before = stepBefore(step)
  const after = stepAfter(step)
  return (
    <Page title={`Restore ${point.data?.virtualMachineDisplayName ?? ''} as a new machine`}>
      <Stepper active={STEPS.indexOf(step)} size="sm" allowNextStepsSelect={false} onStepClick={(index) => setWanted(STEPS[index] ?? 'what')}>
        {STEPS.map((known) => <Stepper.Step key={known} label={WORDS[known]} />)}
      </Stepper>
      <Loaded query={point}>
        {(data) => (
          <Stack>
            {step === 'what' && <What point={data} plan={plan} problems={problems} change={change} />}
            {step === 'where' && <Where point={data} plan={plan} problems={problems} change={change} />}
            {step === 'check' && <Check point={data} plan={plan} />}
            <Group>
              {before && <Button variant="default" onClick={() => setWanted(before)}>Back</Button>}
              {after && <Button disabled={Object.keys(problems).length > 0} onClick={() => setWanted(after)}>Next: {WORDS[after].toLowerCase()}</Button>}
            </Group>
          </Stack>
        )}
      </Loaded>
    </Page>
  )
}

interface StepProps {
  point: RecoveryPoint
  plan: Plan
  problems: Partial<Record<keyof Plan, string>>
  change: (part: Partial<Plan>) => void
}

function What({ point, plan, problems, change }: StepProps) {
  const zone = useZone()
  const points = useInfiniteQuery({ ...pointsQuery(point.virtualMachine ?? ''), enabled: Boolean(point.virtualMachine) })
  const known = (points.data?.pages ?? []).flatMap((page) => page.recoveryPoints ?? []).filter((other) => !other.deleteTime)
  const choices = known.some((other) => other.name === point.name) ? known : [point, ...known]
  return (
    <>
      <NativeSelect label="Recovery point" description="The machine comes back as it was at this moment" value={plan.point} error={problems.point}
        onChange={(event) => change({ point: event.currentTarget.value })}
        data={choices.map((other) => ({ value: other.name ?? '', label: `${time(other.pointTime, zone)}, ${enumWords(other.mechanism, 'BACKUP_MECHANISM_')}` }))} />
      {point.health === 'HEALTH_DAMAGED' && (
        <Notice tone="bad" title="Parts of this recovery point are damaged">
          {(point.damage ?? []).filter((place) => !place.healedTime).map((place) => `${place.disk}: ${bytes(place.lengthBytes)} at ${place.offsetBytes}`).join('; ')}.
          A restore stops at a damaged place and leaves no machine behind: choose another point.
        </Notice>
      )}
      <dl className="fields">
        <Field label="Repository">{idOf(point.repository)}</Field>
        <Field label="Verified">{point.verifyTime ? time(point.verifyTime, zone) : 'never read back as a whole yet'}</Field>
        <Field label="Data">{bytes(point.figures?.logicalBytes)}</Field>
        <Field label="Disks">{(point.disks ?? []).map((disk) => `${disk.name} (${bytes(disk.capacityBytes)})`).join(', ')}</Field>
        {(point.excludedDisks ?? []).length > 0 && <Field label="Not in it">{(point.excludedDisks ?? []).map((disk) => `${disk.name}: ${disk.message}`).join('; ')}</Field>}
      </dl>
    </>
  )
}

function hostChoices(hosts: Host[], origin: string): { value: string; label: string; disabled: boolean }[] {
  const word = (host: Host) => (host.state !== 'STATE_ONLINE' ? ' (offline)' : host.drained ? ' (in maintenance)' : '')
  const home = hosts.find((host) => host.name === `hosts/${origin}`)
  return [
    { value: '', label: `Where it was backed up${home ? `: ${home.displayName}${word(home)}` : ''}`, disabled: false },
    ...hosts.filter((host) => host !== home).map((host) => ({ value: host.name ?? '', label: `${host.displayName}${word(host)}`, disabled: host.state !== 'STATE_ONLINE' })),
  ]
}

function Where({ point, plan, problems, change }: StepProps) {
  const hosts = useQuery(hostsQuery)
  return (
    <>
      <Loaded query={hosts} rows={1}>
        {(all) => (
          <NativeSelect label="Host" value={plan.host} onChange={(event) => change({ host: event.currentTarget.value })}
            data={hostChoices(all, machineIds(point.virtualMachine)?.host ?? '')} />
        )}
      </Loaded>
      <TextInput label="Name of the new machine" placeholder={defaultName(point)} value={plan.displayName} error={problems.displayName}
        onChange={(event) => change({ displayName: event.currentTarget.value })} />
      <TextInput label="Folder on the host" description="The machine gets a folder of its name in it" placeholder="the agent’s default folder" value={plan.folder} error={problems.folder}
        onChange={(event) => change({ folder: event.currentTarget.value })} />
      <Checkbox label="Start it when everything is restored" checked={plan.powerOn} onChange={(event) => change({ powerOn: event.currentTarget.checked })} />
      {plan.powerOn && (
        <Notice tone="warn" title="Two of the same on one network?">
          The new machine has new MAC addresses, but the addresses and names that are set inside the guest are those of the original. If that still runs, they may clash.
        </Notice>
      )}
    </>
  )
}

function Check({ point, plan }: { point: RecoveryPoint; plan: Plan }) {
  const navigate = useNavigate()
  const zone = useZone()
  const hosts = useQuery(hostsQuery)
  const [requestId] = useState(() => crypto.randomUUID())
  const check = useQuery({
    queryKey: ['check', plan],
    queryFn: () => body(api.POST('/v1/jobs', { params: { query: { validateOnly: true } }, body: restoreJob(plan) })),
    retry: false, staleTime: 0, gcTime: 0,
  })
  const run = useMutation({
    mutationFn: () => body<Job>(api.POST('/v1/jobs', { params: { query: { requestId } }, body: restoreJob(plan) })),
    onSuccess: (job) => navigate(`/jobs/${idOf(job.name)}`),
  })
  const host = hosts.data?.find((known) => known.name === (plan.host || `hosts/${machineIds(point.virtualMachine)?.host ?? ''}`))
  const size = (point.disks ?? []).reduce((sum, disk) => sum + num(disk.dataBytes), 0)
  return (
    <>
      <dl className="fields">
        <Field label="From">{point.virtualMachineDisplayName}, {time(point.pointTime, zone)}</Field>
        <Field label="New machine">{plan.displayName || defaultName(point)}</Field>
        <Field label="On">{host?.displayName ?? 'the host that it was backed up from'}</Field>
        <Field label="Folder">{plan.folder || 'the agent’s default folder'}</Field>
        <Field label="Writes about">{bytes(size)}</Field>
        <Field label="Then">{plan.powerOn ? 'it is started' : 'it stays off'}</Field>
      </dl>
      <Text>The original machine, its disks and all recovery points stay as they are.</Text>
      {check.isPending && <Text role="status">The daemon checks the request…</Text>}
      {check.error ? <Problem error={check.error} retry={() => void check.refetch()} /> : null}
      {check.isSuccess && (
        <Notice tone="good" title="The daemon accepts it" role="status">
          What only the host can tell, such as a folder of the same name that is there already, the job checks before it writes anything.
        </Notice>
      )}
      {run.error ? <Problem error={run.error} /> : null}
      <Group>
        <Button disabled={!check.isSuccess} loading={run.isPending} onClick={() => run.mutate()}>Restore</Button>
        {point.virtualMachine && <Anchor component={Link} to={`/machines/${machineIds(point.virtualMachine)?.host}/${machineIds(point.virtualMachine)?.machine}`}>Leave without restoring</Anchor>}
      </Group>
    </>
  )
}
