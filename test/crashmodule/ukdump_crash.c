// SPDX-License-Identifier: GPL-2.0
// Crashes the kernel in the way that is written to /sys/module/ukdump_crash/parameters/how:
// null, irq, hung, soft, stack. With leave=KIB it takes all memory but so much while a collector
// runs.
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/oom.h>
#include <linux/preempt.h>
#include <linux/sched/signal.h>
#include <linux/timer.h>

static struct { int value; } *nothing;
static DEFINE_MUTEX(held);

static noinline void ukdump_crash_null(void)
{
	WRITE_ONCE(nothing->value, 1);
}

static void ukdump_crash_expired(struct timer_list *t)
{
	ukdump_crash_null();
}

static DEFINE_TIMER(timer, ukdump_crash_expired);

static int ukdump_crash_wait(void *unused)
{
	mutex_lock(&held);
	mutex_unlock(&held);
	return 0;
}

static noinline void ukdump_crash_hang(void)
{
	mutex_lock(&held);
	kthread_run(ukdump_crash_wait, NULL, "ukdump-waiter");
	for (;;)
		ssleep(1);
}

static noinline void ukdump_crash_spin(void)
{
	preempt_disable();
	for (;;)
		cpu_relax();
}

static noinline int ukdump_crash_deeper(int depth)
{
	volatile char frame[512];

	frame[depth % sizeof(frame)] = depth;
	return ukdump_crash_deeper(depth + 1) + frame[depth % sizeof(frame)];
}

static int ukdump_crash_set(const char *value, const struct kernel_param *kp)
{
	if (sysfs_streq(value, "null"))
		ukdump_crash_null();
	else if (sysfs_streq(value, "irq"))
		mod_timer(&timer, jiffies + 1);
	else if (sysfs_streq(value, "hung"))
		ukdump_crash_hang();
	else if (sysfs_streq(value, "soft"))
		ukdump_crash_spin();
	else if (sysfs_streq(value, "stack"))
		ukdump_crash_deeper(0);
	else
		return -EINVAL;
	return 0;
}

static const struct kernel_param_ops ops = { .set = ukdump_crash_set };
module_param_cb(how, &ops, NULL, 0200);

static unsigned int leave;
module_param(leave, uint, 0);

static bool ukdump_crash_collects(void)
{
	struct task_struct *p;
	bool found = false;

	rcu_read_lock();
	for_each_process(p)
		if (p->signal->oom_score_adj == OOM_SCORE_ADJ_MAX)
			found = true;
	rcu_read_unlock();
	return found;
}

/* Memory that a collector gives back is taken from the next one, too. */
static int ukdump_crash_take(void *unused)
{
	for (;;) {
		while (ukdump_crash_collects() && si_mem_available() > leave >> (PAGE_SHIFT - 10) && alloc_page(GFP_NOWAIT | __GFP_NOWARN))
			;
		msleep(10);
	}
	return 0;
}

static int __init ukdump_crash_init(void)
{
	if (leave)
		kthread_run(ukdump_crash_take, NULL, "ukdump-taker");
	return 0;
}

module_init(ukdump_crash_init);
MODULE_DESCRIPTION("Crashes of several kinds, for tests");
MODULE_LICENSE("GPL");
