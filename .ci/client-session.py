"""A session of scim2-client with its typed models and its strict checks of every answer, against a running server.

    client-session.py BASE_URL TOKEN

The client refuses by itself what is no valid answer: media type, status, schemas, mutability and returnability of
every attribute, unknown attributes. Here is checked what the answers mean.
"""

import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import PatchOp, PatchOperation, ResponseParameters, SCIMException, SearchRequest

base, token = sys.argv[1], sys.argv[2]
http = Client(base_url=base, headers={"Authorization": f"Bearer {token}"})
# Every check of the client is on; none is overridden below.
scim = SyncSCIMClient(http)
assert scim.check_request_payload and scim.check_response_payload
assert scim.check_response_content_type and scim.check_response_status_codes and scim.raise_scim_errors

checked = 0


def check(what, holds):
    global checked
    assert holds, what
    checked += 1


def refused(what, status, scim_type, call):
    """The call must be refused with this status and scimType."""
    try:
        call()
    except SCIMException as refusal:
        error = refusal.to_error()
        check(f"{what}: {error}", (int(error.status), error.scim_type) == (status, scim_type))
    else:
        raise AssertionError(f"{what} was not refused")


def patch(model, *operations):
    return PatchOp[model](operations=[PatchOperation[model](**operation) for operation in operations])


# The models of this server, made from what it serves at /Schemas and /ResourceTypes.
scim.discover()
User, Group = scim.get_resource_model("User"), scim.get_resource_model("Group")
Enterprise = User.get_extension_model("EnterpriseUser")
config = scim.provider.config
check("discovery", User and Group and Enterprise and config.patch.supported and config.filter.supported)

# Create.
ada = User(
    user_name="ada@example.com",
    external_id="00u1",
    name={"givenName": "Ada", "familyName": "Lovelace"},
    emails=[{"value": "ada@example.com", "type": "work", "primary": True}],
    active=True,
)
ada[Enterprise] = Enterprise(department="Engines", employee_number="7")
ada = scim.create(ada)
check("id, meta and version are the server's", ada.id and ada.meta.created and ada.meta.version)
check("what was sent comes back", ada.name.family_name == "Lovelace" and ada[Enterprise].department == "Engines")
bob = scim.create(User(user_name="bob@example.com", name={"givenName": "Bob", "familyName": "Abel"}))
refused("a name that is taken", 409, "uniqueness", lambda: scim.create(User(user_name="ADA@example.com")))
team = scim.create(Group(display_name="Team", members=[{"value": ada.id}]))
check("a member", team.members[0].value == ada.id and team.members[0].type == "User")

# Query.
check("read by id", scim.query(User, ada.id).user_name == "ada@example.com")
some = scim.query(User, ada.id, query_parameters=ResponseParameters(attributes=["userName"]))
check("attributes", some.user_name and some.name is None and some.id == ada.id)


def names(**query):
    answer = scim.query(User, query_parameters=SearchRequest(**query))
    return answer, [user.user_name for user in answer.resources or []]


answer, found = names(filter='emails[type eq "work" and value ew "@example.com"] and active eq true')
check("a filter", (answer.total_results, found) == (1, ["ada@example.com"]))
answer, found = names(start_index=2, count=1)
check("a page", (answer.total_results, answer.items_per_page, found) == (2, 1, ["bob@example.com"]))
refused("a filter that is none", 400, "invalidFilter", lambda: scim.query(User, url="/Users?filter=userName"))
refused("an id that is nobody's", 404, None, lambda: scim.query(User, "2819c223-7f76-453a-919d-413861904646"))
if config.sort.supported:
    _, found = names(sort_by="name.familyName", sort_order="descending")
    check("a sorted list", found == ["ada@example.com", "bob@example.com"])
    _, found = names(sort_by="name.familyName")
    check("a sorted list", found == ["bob@example.com", "ada@example.com"])
if config.pagination and config.pagination.cursor:
    first, found = names(cursor="", count=1)
    second, rest = names(cursor=first.next_cursor, count=1)
    check("a walk by cursor", sorted(found + rest) == ["ada@example.com", "bob@example.com"])
    check("the end of a walk", second.next_cursor is None)
    refused("a cursor that is none", 400, "invalidCursor", lambda: names(cursor="nonsense"))
    everything = scim.search(SearchRequest(filter='userName sw "ada" or displayName eq "team"'))
    check("a search from the root", {one.id for one in everything.resources} == {ada.id, team.id})

# Patch.
ada = scim.modify(User, ada.id, patch(
    User,
    {"op": "replace", "path": "name.givenName", "value": "Augusta"},
    {"op": "add", "path": "emails", "value": [{"value": "ada@example.org", "type": "home", "primary": True}]},
    {"op": "remove", "path": f"{Enterprise.__schema__}:employeeNumber"},
)) or scim.query(User, ada.id)
check("replace", ada.name.given_name == "Augusta" and ada.name.family_name == "Lovelace")
check("add", [(email.value, bool(email.primary)) for email in ada.emails]
      == [("ada@example.com", False), ("ada@example.org", True)])
check("remove", ada[Enterprise].employee_number is None and ada[Enterprise].department == "Engines")
ada = scim.modify(User, ada.id, patch(User, {"op": "replace", "path": "active", "value": False})) or scim.query(User, ada.id)
check("deactivation", ada.active is False)
team = scim.modify(Group, team.id, patch(Group, {"op": "add", "path": "members", "value": [{"value": bob.id}]})) \
    or scim.query(Group, team.id)
check("a second member", {member.value for member in team.members} == {ada.id, bob.id})
check("groups of a user", [group.value for group in scim.query(User, bob.id).groups] == [team.id])
team = scim.modify(Group, team.id, patch(Group, {"op": "remove", "path": f'members[value eq "{ada.id}"]'})) \
    or scim.query(Group, team.id)
check("one member less", [member.value for member in team.members] == [bob.id])
refused("removing a required attribute", 400, "mutability",
        lambda: scim.modify(User, bob.id, {"schemas": [PatchOp.__schema__], "Operations": [{"op": "remove", "path": "userName"}]},
                            check_request_payload=False))

# Replace.
bob.display_name = "Bob A."
bob.meta = None
bob = scim.replace(bob)
check("a replaced user", bob.display_name == "Bob A." and scim.query(User, bob.id).display_name == "Bob A.")

# Delete.
for model, one in [(Group, team), (User, ada), (User, bob)]:
    scim.delete(model, one.id)
    refused("a deleted resource", 404, None, lambda: scim.query(model, one.id))
answer, found = names()
check("nobody is left", (answer.total_results, found) == (0, []))
print(f"scim2-client: {checked} checks passed, 0 failed")
