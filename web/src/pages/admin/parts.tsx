// Sessions, tokens and the password of a user: on the own account's page, and on a user's for those who manage users.
import { Button, Group, NativeSelect, PasswordInput, Stack, Table, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { sessionsQuery, tokensQuery } from '../../api/admin_queries'
import { api, body, type ApiToken, type Grant, type Session } from '../../api/client'
import { identityQuery } from '../../api/queries'
import { idOf, time } from '../../logic/format'
import { grantsProblem } from '../../logic/grants'
import { GrantsEditor, GrantWords } from '../../ui/grants'
import { Confirm, Copyable, Dialog, Empty, Loaded, Notice, Panel, Problem, Tag, When } from '../../ui/parts'
import { useZone } from '../../ui/preferences'

export function Sessions({ user, manage }: { user: string; manage: boolean }) {
  const query = useQuery(sessionsQuery(user))
  return (
    <Panel title="Sessions">
      <Loaded query={query}>
        {(sessions) => sessions.length === 0 ? <Empty>Signed in with no browser.</Empty> : (
          <div className="scroll">
            <Table>
              <Table.Thead><Table.Tr><Table.Th>From</Table.Th><Table.Th>Began</Table.Th><Table.Th>Last seen</Table.Th><Table.Th>Ends at the latest</Table.Th><Table.Th>Actions</Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>{sessions.map((session) => <SessionRow key={session.name} session={session} user={user} manage={manage} />)}</Table.Tbody>
            </Table>
          </div>
        )}
      </Loaded>
    </Panel>
  )
}

function SessionRow({ session, user, manage }: { session: Session; user: string; manage: boolean }) {
  const identity = useQuery(identityQuery)
  const queries = useQueryClient()
  const own = identity.data?.session?.name === session.name
  const end = useMutation({
    mutationFn: () => body(api.DELETE('/v1/users/{user}/sessions/{session}', { params: { path: { user, session: idOf(session.name) } } })),
    onSuccess: () => void queries.invalidateQueries({ queryKey: own ? ['identity'] : ['sessions'] }),
  })
  return (
    <Table.Tr>
      <Table.Td>{session.peer} {own && <Tag tone="busy">This browser</Tag>}</Table.Td>
      <Table.Td><When value={session.createTime} /></Table.Td>
      <Table.Td><When value={session.lastSeenTime} /></Table.Td>
      <Table.Td><When value={session.expireTime} exact /></Table.Td>
      <Table.Td>
        {manage && <Button size="compact-sm" variant="default" loading={end.isPending} onClick={() => end.mutate()} aria-label={`End the session from ${session.peer}`}>{own ? 'Sign out' : 'End'}</Button>}
        {end.error ? <Problem error={end.error} /> : null}
      </Table.Td>
    </Table.Tr>
  )
}

/** `user`: "me", a user, or "-" for everybody's, which shows whose each is. */
export function TokenList({ user, manage }: { user: string; manage: boolean }) {
  const query = useQuery(tokensQuery(user))
  const [asks, setAsks] = useState(false)
  return (
    <Panel title="Tokens" aside={manage && user !== '-' && <Button size="compact-sm" onClick={() => setAsks(true)}>Make a token</Button>}>
      <Loaded query={query}>
        {(tokens) => tokens.length === 0 ? <Empty>No token. Programs that use the API need one.</Empty> : (
          <div className="scroll">
            <Table>
              <Table.Thead>
                <Table.Tr>
                  {user === '-' && <Table.Th>Of</Table.Th>}
                  <Table.Th>For</Table.Th><Table.Th>May</Table.Th><Table.Th>Made</Table.Th><Table.Th>Last used</Table.Th><Table.Th>Ends</Table.Th><Table.Th>Actions</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>{tokens.map((token) => <TokenRow key={token.name} token={token} owner={user === '-'} manage={manage} />)}</Table.Tbody>
            </Table>
          </div>
        )}
      </Loaded>
      {asks && <TokenDialog user={user} close={() => setAsks(false)} />}
    </Panel>
  )
}

function TokenRow({ token, owner, manage }: { token: ApiToken; owner: boolean; manage: boolean }) {
  const queries = useQueryClient()
  const [asks, setAsks] = useState(false)
  const [, of = '', , id = ''] = (token.name ?? '').split('/')
  const remove = useMutation({
    mutationFn: () => body(api.DELETE('/v1/users/{user}/tokens/{token}', { params: { path: { user: of, token: id } } })),
    onSuccess: () => { setAsks(false); void queries.invalidateQueries({ queryKey: ['tokens'] }) },
  })
  const what = token.displayName || id
  return (
    <Table.Tr>
      {owner && <Table.Td>{of}</Table.Td>}
      <Table.Td>{what}</Table.Td>
      <Table.Td>{token.grants?.length ? <GrantWords grants={token.grants} /> : <span className="dim">all that its user may</span>}</Table.Td>
      <Table.Td><When value={token.createTime} /></Table.Td>
      <Table.Td><When value={token.lastUsedTime} /></Table.Td>
      <Table.Td>{token.expireTime && Date.parse(token.expireTime) < Date.now() ? <Tag tone="bad">Ended</Tag> : <When value={token.expireTime} exact />}</Table.Td>
      <Table.Td>
        {manage && <Button size="compact-sm" variant="default" onClick={() => setAsks(true)} aria-label={`End the token ${what}`}>End</Button>}
        <Confirm opened={asks} onClose={() => setAsks(false)} title={`End the token ${what}?`} action="End it" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
          <Text>Programs that use it are refused at once{token.lastUsedTime && <>; it was last used <When value={token.lastUsedTime} /></>}. It can’t be brought back: they need a new one. What they did stays.</Text>
        </Confirm>
      </Table.Td>
    </Table.Tr>
  )
}

const LIVES = [{ value: '30', label: '30 days' }, { value: '90', label: '90 days' }, { value: '365', label: 'a year' }, { value: '730', label: 'two years' }]

function TokenDialog({ user, close }: { user: string; close: () => void }) {
  const queries = useQueryClient()
  const zone = useZone()
  const [displayName, setDisplayName] = useState('')
  const [days, setDays] = useState('90')
  const [grants, setGrants] = useState<Grant[]>([])
  const make = useMutation({
    mutationFn: () => body(api.POST('/v1/users/{user}/tokens', {
      params: { path: { user } }, body: { displayName, grants, expireTime: new Date(Date.now() + Number(days) * 86_400_000).toISOString() },
    })),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ['tokens'] }),
    gcTime: 0, // the answer has the secret
  })
  const wrong = grantsProblem(grants)
  return (
    <Dialog opened onClose={close} title={user === 'me' ? 'Make a token' : `Make a token for ${user}`}>
      <Stack>
        {make.data ? (
          <>
            <Text>The token. It is shown only now:</Text>
            <Copyable label="the token" text={make.data.secret ?? ''} />
            <Text size="sm">Programs send it as <code>Authorization: Bearer TOKEN</code>, until {time(make.data.token?.expireTime, zone)}. Whoever has it may do what it may.</Text>
            <Group justify="flex-end"><Button onClick={close}>Done</Button></Group>
          </>
        ) : (
          <>
            <TextInput label="What it is for" value={displayName} onChange={(event) => setDisplayName(event.currentTarget.value)} data-autofocus />
            <NativeSelect label="It ends after" value={days} onChange={(event) => setDays(event.currentTarget.value)} data={LIVES} />
            <div>
              <Text size="sm" fw={500}>What it may do, as far as its user may</Text>
              <GrantsEditor grants={grants} change={setGrants} />
              {grants.length === 0 && <Notice tone="warn">Without a grant of its own it may all that its user may.</Notice>}
            </div>
            {wrong && <Text size="sm" role="status">{wrong}</Text>}
            {make.error ? <Problem error={make.error} /> : null}
            <Group justify="flex-end"><Button loading={make.isPending} disabled={displayName.trim() === '' || wrong !== ''} onClick={() => make.mutate()}>Make it</Button></Group>
          </>
        )}
      </Stack>
    </Dialog>
  )
}

const PASSWORD_MIN = 12

/** With `own` the one before is asked for, as the daemon wants it. */
export function PasswordDialog({ user, own, close }: { user: string; own: boolean; close: () => void }) {
  const queries = useQueryClient()
  const [oldPassword, setOldPassword] = useState('')
  const [newPassword, setNewPassword] = useState('')
  const set = useMutation({
    mutationFn: () => body(api.POST('/v1/users/{user}:setPassword', { params: { path: { user } }, body: { newPassword, ...(own ? { oldPassword } : {}) } })),
    onSuccess: () => { close(); void queries.invalidateQueries({ queryKey: own ? ['identity'] : ['sessions'] }) },
    gcTime: 0,
  })
  return (
    <Dialog opened onClose={close} title={own ? 'Change my password' : `A new password for ${user}`}>
      <Stack>
        <Text size="sm">All sessions of {own ? 'this account' : user} end, {own ? 'this one too: sign in with the new password then.' : 'in every browser.'} Tokens stay.</Text>
        {own && <PasswordInput label="The present password" autoComplete="current-password" value={oldPassword} onChange={(event) => setOldPassword(event.currentTarget.value)} visibilityToggleButtonProps={{ 'aria-label': 'Show the present password', tabIndex: 0 }} data-autofocus />}
        <PasswordInput label="The new password" description={`At least ${PASSWORD_MIN} characters`} autoComplete="new-password" value={newPassword} onChange={(event) => setNewPassword(event.currentTarget.value)} visibilityToggleButtonProps={{ 'aria-label': 'Show the new password', tabIndex: 0 }} />
        {set.error ? <Problem error={set.error} /> : null}
        <Group justify="flex-end"><Button loading={set.isPending} disabled={[...newPassword].length < PASSWORD_MIN || (own && oldPassword === '')} onClick={() => set.mutate()}>Set it</Button></Group>
      </Stack>
    </Dialog>
  )
}
