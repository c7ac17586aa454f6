package dev.fairstow.spark;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * User-weighted fair queueing: fairstow/spark/fair_queueing.py in Java, where its maths is derived.
 *
 * <p>The two are compared on random traces, number by number. Work is in core-seconds, `now` in
 * seconds; nothing here reads a clock, and callers take turns.
 */
final class FairQueue {
    static final double GRACE_S = 3.0;
    private static final double ROUNDING = 1e-9;

    static final class Job {
        final String id;
        final User user;
        private final long number;
        private double work;
        private double deadline;
        private double served;
        private double finish;
        private boolean active = true;
        private boolean over;

        private Job(String id, User user, double work, long number) {
            this.id = id;
            this.user = user;
            this.work = work;
            this.number = number;
            this.deadline = user.attained + work;
        }

        double finish() {
            return finish;
        }
    }

    static final class User {
        final String name;
        private double weight;
        private double seen;
        private double attained;
        private double debt;
        private double left = Double.NEGATIVE_INFINITY;
        private boolean active;
        private int unfinished;
        private double departure;
        private final List<Job> jobs = new ArrayList<>();

        /** Those that left the fluid system and aren't over. */
        private final Set<Job> late = new HashSet<>();

        private User(String name, double weight, double seen) {
            this.name = name;
            this.weight = weight;
            this.seen = seen;
        }

        private void put(Job job) {
            int at = jobs.size();
            while (at > 0 && BY_DEADLINE.compare(jobs.get(at - 1), job) > 0) {
                at--;
            }
            jobs.add(at, job);
        }
    }

    private static final Comparator<Job> BY_DEADLINE =
            Comparator.<Job>comparingDouble(job -> job.deadline)
                    .thenComparingLong(job -> job.number);

    private final Map<String, Job> jobs = new HashMap<>();
    private final Map<String, User> users = new LinkedHashMap<>();
    private double cores;
    private double now;
    private double virtual;
    private double weights;
    private int active;
    private long number;

    FairQueue(double cores, double now) {
        this.cores = cores;
        this.now = now;
    }

    double virtual() {
        return virtual;
    }

    boolean has(String id) {
        Job job = jobs.get(id);
        return job != null && !job.over;
    }

    double work(String id) {
        return jobs.get(id).work;
    }

    double finishOf(String id) {
        return jobs.get(id).finish;
    }

    void advance(double to) {
        double left = to - now;
        if (left <= 0) {
            return;
        }
        now = to;
        while (active > 0 && cores > 0) {
            User next = null;
            for (User user : users.values()) {
                if (user.active && (next == null || user.departure < next.departure)) {
                    next = user;
                }
            }
            double needed = Math.max(next.departure - virtual, 0) * weights / cores;
            if (needed > left) {
                virtual += left * cores / weights;
                return;
            }
            left -= needed;
            virtual = Math.max(virtual, next.departure);
            depart(next);
        }
    }

    void arrive(double at, String id, String name, double work, double weight) {
        advance(at);
        if (jobs.containsKey(id)) {
            throw new IllegalArgumentException("job " + id + " is queued already");
        }
        User user = users.computeIfAbsent(name, any -> new User(any, weight, virtual));
        settle(user);
        weigh(user, weight);
        activate(user);
        Job job = new Job(id, user, positive("work", work), ++number);
        jobs.put(id, job);
        user.unfinished++;
        user.put(job);
        chain(user, virtual, false);
    }

    void revise(double at, String id, double estimate) {
        advance(at);
        Job job = jobs.get(id);
        User user = settle(job.user);
        double work = Math.max(positive("work", estimate), job.served);
        double base = virtual;
        if (job.active) {
            double got = job.work - (job.deadline - user.attained);
            user.jobs.remove(job);
            job.deadline = user.attained + Math.max(work - got, 0);
        } else if (work <= job.work) {
            return;
        } else {
            boolean graced = !user.active && virtual - user.left <= GRACE_S * cores / 2;
            base = graced ? user.left : virtual;
            activate(user);
            user.late.remove(job);
            job.active = true;
            job.deadline = user.attained + work - job.work;
        }
        job.work = work;
        user.put(job);
        chain(user, base, false);
    }

    /** Tells how much a job really got so far; true if that is more than was thought. */
    boolean served(double at, String id, double coreSeconds) {
        advance(at);
        Job job = jobs.get(id);
        job.served = Math.max(job.served, positive("served", coreSeconds));
        double excess = job.served - job.work;
        if (excess <= ROUNDING * job.work) {
            return false;
        }
        job.work = job.served;
        indebt(settle(job.user), excess);
        return true;
    }

    void finish(double at, String id, double coreSeconds) {
        served(at, id, coreSeconds);
        Job job = jobs.get(id);
        User user = settle(job.user);
        job.over = true;
        user.unfinished--;
        double givenBack = Math.min(job.work - job.served, job.deadline - user.attained);
        if (job.active && givenBack > ROUNDING * job.work) {
            user.jobs.remove(job);
            job.deadline -= givenBack;
            user.put(job);
            chain(user, virtual, true);
        }
        if (!job.active) {
            jobs.remove(id);
            user.late.remove(job);
            forget(user);
        }
    }

    /** Charges a user for what it got past its jobs, such as by tasks that outlived theirs. */
    void charge(double at, String name, double coreSeconds, double weight) {
        advance(at);
        if (positive("charge", coreSeconds) == 0) {
            return;
        }
        User user = users.computeIfAbsent(name, any -> new User(any, weight, virtual));
        settle(user);
        weigh(user, weight);
        indebt(user, coreSeconds);
    }

    void reweigh(double at, String name, double weight) {
        advance(at);
        User user = users.get(name);
        if (user != null) {
            settle(user);
            weigh(user, weight);
            chain(user, virtual, false);
        }
    }

    void resize(double at, double to) {
        advance(at);
        cores = positive("cores", to);
    }

    /** All jobs that aren't over, in the order that they should run in. */
    List<Job> order() {
        List<Job> order = new ArrayList<>();
        for (Job job : jobs.values()) {
            if (!job.over) {
                order.add(job);
            }
        }
        order.sort(
                Comparator.<Job>comparingDouble(job -> job.finish)
                        .thenComparingLong(job -> job.number));
        return order;
    }

    int activeUsers() {
        return active;
    }

    private User settle(User user) {
        double service = (virtual - user.seen) * user.weight;
        user.seen = virtual;
        if (user.active && service > 0) {
            double paid = Math.min(user.debt, service);
            user.debt -= paid;
            if (!user.jobs.isEmpty()) {
                double reached = user.attained + (service - paid) / user.jobs.size();
                user.attained = Math.min(reached, user.jobs.get(0).deadline);
            }
        }
        return user;
    }

    private void weigh(User user, double weight) {
        if (!(weight > 0) || Double.isInfinite(weight)) {
            throw new IllegalArgumentException("weight is " + weight + "; it has to be over 0");
        }
        if (user.active) {
            weights += weight - user.weight;
        }
        user.weight = weight;
    }

    private void activate(User user) {
        if (!user.active) {
            user.active = true;
            active++;
            weights = active > 1 ? weights + user.weight : user.weight;
        }
    }

    private void indebt(User user, double coreSeconds) {
        activate(user);
        user.debt += coreSeconds;
        chain(user, virtual, false);
        double paid = virtual + user.debt / user.weight;
        for (Job job : user.late) {
            job.finish = Math.max(job.finish, paid);
        }
    }

    private void chain(User user, double base, boolean earlierOnly) {
        double ahead = user.debt;
        for (Job job : user.jobs) {
            ahead += job.deadline - user.attained;
            double finish = base + ahead / user.weight;
            job.finish = earlierOnly ? Math.min(job.finish, finish) : finish;
        }
        schedule(user);
    }

    private void schedule(User user) {
        double first =
                user.jobs.isEmpty()
                        ? 0
                        : (user.jobs.get(0).deadline - user.attained) * user.jobs.size();
        user.departure = user.seen + (user.debt + Math.max(first, 0)) / user.weight;
    }

    private void depart(User user) {
        settle(user);
        user.debt = 0;
        if (!user.jobs.isEmpty()) {
            user.attained = user.jobs.get(0).deadline;
        }
        while (!user.jobs.isEmpty() && user.jobs.get(0).deadline <= user.attained) {
            Job job = user.jobs.remove(0);
            job.active = false;
            if (job.over) {
                jobs.remove(job.id);
            } else {
                user.late.add(job);
            }
        }
        if (!user.jobs.isEmpty()) {
            schedule(user);
            return;
        }
        user.active = false;
        user.left = virtual;
        user.attained = 0;
        active--;
        weights = active > 0 ? weights - user.weight : 0;
        forget(user);
    }

    private void forget(User user) {
        if (!user.active && user.unfinished == 0) {
            users.remove(user.name);
        }
    }

    private static double positive(String what, double number) {
        if (!(number >= 0) || Double.isInfinite(number)) {
            throw new IllegalArgumentException(what + " is " + number + "; it has to be at least 0");
        }
        return number;
    }
}
