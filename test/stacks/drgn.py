# Writes the call stacks of tasks as lines of JSON.
#
# Synopsis: drgn ... stacks.py TASKS FILE
#
# TASKS has the addresses of tasks in hexadecimal, for those that drgn does not list.
import json
import sys

from drgn import FaultError, Object, sizeof
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import idle_task

failures = (FaultError, LookupError, ValueError)


def quiet(get, default):
    try:
        return get()
    except failures:
        return default


def listed():
    """The tasks that drgn finds by itself."""
    for cpu in for_each_possible_cpu(prog):
        task = quiet(lambda: idle_task(prog, cpu), None)
        if task:
            yield task
    try:
        yield from for_each_task(prog)
    except FaultError:
        pass  # the list ends early


def sleeping(task):
    """The stack of a task by its saved registers only: struct inactive_task_frame."""
    sp = task.thread.sp.value_()
    frame = Object(prog, "struct inactive_task_frame", address=sp)
    regs = {n: getattr(frame, n).value_() for n in ("bp", "bx", "r12", "r13", "r14", "r15")}
    regs["ip"] = frame.ret_addr.value_()
    regs["sp"] = sp + sizeof(frame)
    return prog.stack_trace(Object(prog, "struct pt_regs", value=regs))


def stack(task, line):
    try:
        return prog.stack_trace(task)
    except failures as err:
        line["error"] = str(err)
    try:
        trace = sleeping(task)
        line["registers"] = True
        return trace
    except failures:
        return ()


tasks = {t.value_(): t for t in listed()}
own = set(tasks)
with open(sys.argv[1]) as file:
    for text in file:
        addr = int(text, 16)
        tasks.setdefault(addr, Object(prog, "struct task_struct *", value=addr))
with open(sys.argv[2], "w") as out:
    for addr, task in tasks.items():
        line = {
            "task": addr,
            "listed": addr in own,
            "pid": quiet(lambda: task.pid.value_(), 0),
            "comm": quiet(lambda: task.comm.string_().decode(errors="replace"), ""),
            "error": "",
            "registers": False,
        }
        line["frames"] = [
            {"pc": quiet(lambda: f.pc, 0), "name": f.name or "", "inline": f.is_inline}
            for f in stack(task, line)
        ]
        json.dump(line, out)
        out.write("\n")
