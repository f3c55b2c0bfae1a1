// Grants: a role each, for everything or for hosts, policies and labels.
import { Button, Checkbox, Group, NativeSelect, Paper, Stack, Text, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { rolesQuery } from '../api/admin_queries'
import type { Grant, Scope } from '../api/client'
import { hostsQuery, policiesQuery } from '../api/queries'
import { idOf } from '../logic/format'
import { grantWords, isLabel } from '../logic/grants'

export function useHostNames(): ReadonlyMap<string, string> {
  const hosts = useQuery({ ...hostsQuery, staleTime: 60_000, retry: false })
  return new Map((hosts.data ?? []).map((host) => [host.name ?? '', host.displayName ?? '']))
}

export function GrantWords({ grants }: { grants: Grant[] | undefined }) {
  const names = useHostNames()
  if (!grants?.length) return <span className="dim">nothing</span>
  return <>{grants.map((grant) => grantWords(grant, names)).join('; ')}</>
}

export function GrantsEditor({ grants, change }: { grants: Grant[]; change: (grants: Grant[]) => void }) {
  const roles = useQuery(rolesQuery)
  const set = (index: number, grant: Grant) => change(grants.map((known, at) => (at === index ? grant : known)))
  return (
    <Stack gap="xs" role="group" aria-label="What it may do">
      {grants.length === 0 && <Text size="sm" className="dim">No grant: nothing is allowed.</Text>}
      {grants.map((grant, index) => (
        <Paper withBorder p="xs" key={index}>
          <Group align="flex-end">
            <NativeSelect label="Role" value={grant.role ?? ''} onChange={(event) => set(index, { ...grant, role: event.currentTarget.value })}
              data={[{ value: '', label: 'Choose a role' }, ...(roles.data ?? []).map((role) => ({ value: role.name ?? '', label: `${idOf(role.name)}${role.description ? `: ${role.description}` : ''}` }))]} />
            <Button size="xs" variant="default" onClick={() => change(grants.filter((_, at) => at !== index))}>Take this grant away</Button>
          </Group>
          <Checkbox mt="xs" label="Only for some hosts, policies or labels" checked={grant.scope !== undefined}
            onChange={(event) => set(index, { role: grant.role, ...(event.currentTarget.checked ? { scope: {} } : {}) })} />
          {grant.scope && <ScopeEditor scope={grant.scope} change={(scope) => set(index, { ...grant, scope })} />}
        </Paper>
      ))}
      <Group><Button size="xs" variant="default" onClick={() => change([...grants, { role: '' }])}>Add a grant</Button></Group>
    </Stack>
  )
}

function ScopeEditor({ scope, change }: { scope: Scope; change: (scope: Scope) => void }) {
  const hosts = useQuery({ ...hostsQuery, staleTime: 60_000, retry: false })
  const policies = useQuery({ ...policiesQuery, staleTime: 60_000, retry: false })
  const names = useHostNames()
  const [label, setLabel] = useState('')
  const add = (key: keyof Scope, entry: string) => {
    if (entry && !(scope[key] ?? []).includes(entry)) change({ ...scope, [key]: [...(scope[key] ?? []), entry] })
  }
  const chips = (['hosts', 'policies', 'labels'] as const).flatMap((key) =>
    (scope[key] ?? []).map((entry) => ({ key, entry, text: key === 'hosts' ? `host ${names.get(entry) ?? idOf(entry)}` : key === 'policies' ? `policy ${idOf(entry)}` : `label ${entry}` })))
  return (
    <Stack gap="xs" mt="xs">
      <div className="chips">
        {chips.length === 0 && <Text size="sm" className="dim">Nothing chosen yet.</Text>}
        {chips.map(({ key, entry, text }) => (
          <Button key={`${key} ${entry}`} size="compact-xs" variant="default" aria-label={`Take ${text} away`} onClick={() => change({ ...scope, [key]: (scope[key] ?? []).filter((known) => known !== entry) })}>{text} ✕</Button>
        ))}
      </div>
      <Group align="flex-end">
        <NativeSelect size="xs" label="A host" value="" onChange={(event) => add('hosts', event.currentTarget.value)}
          data={[{ value: '', label: 'Choose' }, ...(hosts.data ?? []).map((host) => ({ value: host.name ?? '', label: host.displayName ?? '' }))]} />
        <NativeSelect size="xs" label="A policy" value="" onChange={(event) => add('policies', event.currentTarget.value)}
          data={[{ value: '', label: 'Choose' }, ...(policies.data ?? []).map((policy) => ({ value: policy.name ?? '', label: idOf(policy.name) }))]} />
        <TextInput size="xs" label="A label" placeholder="env=test" value={label} onChange={(event) => setLabel(event.currentTarget.value)} />
        <Button size="xs" variant="default" disabled={!isLabel(label)} onClick={() => { add('labels', label); setLabel('') }}>Add the label</Button>
      </Group>
    </Stack>
  )
}
