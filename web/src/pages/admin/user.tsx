import { Button, Group, Stack, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { sessionsQuery, tokensQuery, userQuery } from '../../api/admin_queries'
import { api, body, type Grant, type User } from '../../api/client'
import { identityQuery } from '../../api/queries'
import { count, idOf } from '../../logic/format'
import { grantsProblem } from '../../logic/grants'
import { canEverywhere } from '../../logic/permissions'
import { GrantsEditor, GrantWords } from '../../ui/grants'
import { Confirm, Field, Loaded, Page, Panel, Problem, When } from '../../ui/parts'
import { PasswordDialog, Sessions, TokenList } from './parts'
import { UserState } from './users'

export default function UserPage() {
  const { user: id = '' } = useParams()
  const query = useQuery(userQuery(id))
  const identity = useQuery(identityQuery)
  const manage = canEverywhere(identity.data, 'users.manage')
  return (
    <Page title={`User ${id}`}>
      <Text size="sm"><Link to="/admin/users">All users</Link>{canEverywhere(identity.data, 'audit.view') && <> · <Link to={`/admin/audit?principal=users/${id}`}>What {id} did</Link></>}</Text>
      <Loaded query={query}>
        {(user) => (
          <>
            <About key={user.etag} user={user} manage={manage} />
            <TokenList user={id} manage={manage} />
            <Sessions user={id} manage={manage} />
          </>
        )}
      </Loaded>
    </Page>
  )
}

function About({ user, manage }: { user: User; manage: boolean }) {
  const queries = useQueryClient()
  const [edits, setEdits] = useState(false)
  const [displayName, setDisplayName] = useState(user.displayName ?? '')
  const [grants, setGrants] = useState<Grant[]>(user.grants ?? [])
  const save = useMutation({
    mutationFn: () => body(api.PATCH('/v1/users/{user}', {
      params: { path: { user: idOf(user.name) }, query: { updateMask: 'displayName,grants' } }, body: { displayName, grants, etag: user.etag },
    })),
    onSuccess: () => { setEdits(false); void queries.invalidateQueries({ queryKey: ['users'] }); void queries.invalidateQueries({ queryKey: ['identity'] }) },
  })
  const wrong = grantsProblem(grants)
  return (
    <Panel title="Account" aside={<Group gap="xs"><UserState user={user} />{manage && <Actions user={user} edit={() => setEdits(true)} />}</Group>}>
      {edits ? (
        <Stack>
          <TextInput label="Name for people" value={displayName} onChange={(event) => setDisplayName(event.currentTarget.value)} autoFocus />
          <GrantsEditor grants={grants} change={setGrants} />
          {wrong && <Text size="sm" role="status">{wrong}</Text>}
          {save.error ? <Problem error={save.error} /> : null}
          <Group>
            <Button loading={save.isPending} disabled={wrong !== ''} onClick={() => save.mutate()}>Save</Button>
            <Button variant="default" onClick={() => { setEdits(false); setDisplayName(user.displayName ?? ''); setGrants(user.grants ?? []) }}>Keep as it is</Button>
          </Group>
        </Stack>
      ) : (
        <dl className="fields">
          <Field label="Name">{user.displayName || '–'}</Field>
          <Field label="May"><GrantWords grants={user.grants} /></Field>
          <Field label="Added"><When value={user.createTime} /></Field>
          <Field label="Last signed in"><When value={user.lastSignInTime} /></Field>
        </dl>
      )}
    </Panel>
  )
}

function Actions({ user, edit }: { user: User; edit: () => void }) {
  const id = idOf(user.name)
  const queries = useQueryClient()
  const navigate = useNavigate()
  const tokens = useQuery(tokensQuery(id))
  const sessions = useQuery(sessionsQuery(id))
  const [asks, setAsks] = useState<'' | 'disable' | 'delete' | 'password'>('')
  const changed = () => { setAsks(''); void queries.invalidateQueries({ queryKey: ['users'] }); void queries.invalidateQueries({ queryKey: ['sessions'] }) }
  const disable = useMutation({
    mutationFn: (disabled: boolean) => body(api.PATCH('/v1/users/{user}', { params: { path: { user: id }, query: { updateMask: 'disabled' } }, body: { disabled, etag: user.etag } })),
    onSuccess: changed,
  })
  const remove = useMutation({
    mutationFn: () => body(api.DELETE('/v1/users/{user}', { params: { path: { user: id }, query: { etag: user.etag } } })),
    onSuccess: () => { void navigate('/admin/users'); void queries.invalidateQueries({ queryKey: ['users'] }) },
  })
  const has = `${count((tokens.data ?? []).length, 'token')} and ${count((sessions.data ?? []).length, 'session')}`
  return (
    <>
      <Button size="compact-sm" variant="default" onClick={edit}>Change</Button>
      <Button size="compact-sm" variant="default" onClick={() => setAsks('password')}>Password</Button>
      {user.disabled
        ? <Button size="compact-sm" variant="default" loading={disable.isPending} onClick={() => disable.mutate(false)}>Enable</Button>
        : <Button size="compact-sm" variant="default" onClick={() => setAsks('disable')}>Disable</Button>}
      <Button size="compact-sm" variant="default" onClick={() => setAsks('delete')}>Delete</Button>
      {user.disabled && disable.error ? <Problem error={disable.error} /> : null}
      {asks === 'password' && <PasswordDialog user={id} own={false} close={() => setAsks('')} />}
      <Confirm opened={asks === 'disable'} danger={false} onClose={() => setAsks('')} title={`Disable ${id}?`} action="Disable" busy={disable.isPending} error={disable.error} onConfirm={() => disable.mutate(true)}>
        <Text>{id} can’t sign in any more, and his {has} are refused at once, until he is enabled again. Jobs that he started go on.</Text>
      </Confirm>
      <Confirm opened={asks === 'delete'} onClose={() => setAsks('')} title={`Delete ${id}?`} action="Delete the user" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
        <Text>His {has} end for good, and so do the programs that use the tokens. What he did stays in the audit log under his name, jobs that he started go on, recovery points stay.</Text>
      </Confirm>
    </>
  )
}
