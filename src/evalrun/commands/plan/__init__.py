"""What a sweep needs before it runs: checkpoints and data to fetch, disk, memory, time; and fetching it.

inventory    what is done, what is here, what is missing
cost         memory, devices and time
detectable   what differences and effects it can show
render       inventory and cost, for people and for machines
prefetch     get what is missing
offline      say what is missing, where nothing may be fetched
command      the words of the command line
"""

from evalrun.commands.plan.inventory import Inventory, take_inventory
from evalrun.commands.plan.offline import refuse_missing
from evalrun.commands.plan.prefetch import prefetch
from evalrun.commands.plan.render import describe, to_json

__all__ = ["Inventory", "describe", "prefetch", "refuse_missing", "take_inventory", "to_json"]
