// SPDX-License-Identifier: GPL-2.0
// Crashes the kernel in the way that is written to /sys/module/ukdump_crash/parameters/how:
// null, irq, hung, soft, stack.
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
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

static int __init ukdump_crash_init(void)
{
	return 0;
}

module_init(ukdump_crash_init);
MODULE_DESCRIPTION("Crashes of several kinds, for tests");
MODULE_LICENSE("GPL");
