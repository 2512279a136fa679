"""Creates, reads and deletes a user with the generated client: `round_trip.py URL TOKEN`."""

import sys

sys.path.insert(0, ".")

from client import AuthenticatedClient, Client
from client.api.users import create_user, delete_user, get_user, list_users
from client.models import Problem, User, UserInput

url, token = sys.argv[1:]
ada = UserInput(first_name="Ada", last_name="Lovelace", birth_date="1815-12-10", time_zone="Europe/London")

refused = list_users.sync(client=Client(base_url=url))
assert isinstance(refused, Problem) and refused.status == 401, refused

with AuthenticatedClient(base_url=url, token=token) as client:
    created = create_user.sync(client=client, body=ada)
    assert isinstance(created, User), created
    read = get_user.sync(created.id, client=client)
    assert (read.id, read.birth_date, read.contacts) == (created.id, created.birth_date, []), (read, created)
    listed = list_users.sync(client=client, search="ada l")
    assert [user.id for user in listed.items] == [created.id], listed
    wrong = create_user.sync(client=client, body=UserInput(first_name="Ada", birth_date="no date", time_zone="Mars/Olympus"))
    assert isinstance(wrong, Problem) and {error.field for error in wrong.errors} == {"birthDate", "timeZone"}, wrong
    deleted = delete_user.sync_detailed(created.id, client=client)
    assert deleted.status_code == 204, deleted
print("round trip: passed")
