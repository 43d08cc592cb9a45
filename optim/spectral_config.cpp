#include "optim/spectral_config.h"

#include <cmath>

namespace borealis {

bool balances(const SpectralConfig& c, int64_t m, int64_t n, Neurons neurons) {
  if (c.direction.balance == Balance::none) return false;
  switch (c.where) {
    case Where::tall: return m > n;
    case Where::nonsquare: return m != n;
    case Where::wide: return m < n;
    case Where::up_gate: return m > n && neurons == Neurons::rows;
  }
  return false;
}

void check(const SpectralConfig& c) {
  const auto need = [&](bool ok, const char* what, double value, const char* rule) {
    if (!ok) fail(c.name, ": ", what, " is ", value, ", but ", rule);
  };
  const auto from_zero = [](double x) { return x >= 0 && std::isfinite(x); };
  const AuroraOptions& o = c.direction;
  const double K = o.pp_iterations;
  need(c.mu > 0 && c.mu < 1, "mu", c.mu, "must lie between 0 and 1");
  need(K >= 1 && K <= 100, "pp_iterations", K, "must lie from 1 to 100");
  need(o.balance == Balance::paper ? o.pp_beta >= 0 && o.pp_beta < 1 : o.pp_beta > 0 && std::isfinite(o.pp_beta),
       "pp_beta", o.pp_beta,
       o.balance == Balance::paper ? "the paper's form takes 0 <= pp_beta < 1" : "must be a number above 0");
  need(from_zero(c.weight_decay), "the weight decay", c.weight_decay, "it must be a number of at least 0");
  need(from_zero(c.pre_eps), "pre_eps", c.pre_eps, "it must be a number of at least 0");
  need(from_zero(c.post_eps), "post_eps", c.post_eps, "it must be a number of at least 0");
  need(from_zero(c.floor), "floor", c.floor, "it must be a number of at least 0");
  need(from_zero(c.contra) && c.contra < 1, "contra", c.contra, "it must lie in [0, 1)");
  need(c.beta2 >= 0 && c.beta2 < 1, "beta2", c.beta2, "it must lie in [0, 1)");
  need(std::isfinite(c.alpha) && c.alpha > 0, "alpha", c.alpha, "must be a number above 0");

  // Settings of which one would make another meaningless.
  const bool no_factor = o.polar == Polar::identity || o.polar == Polar::soft12;
  if (o.balance != Balance::none && no_factor)
    fail(c.name, ": balance=", name(o.balance), " evens out the rows of a polar factor, but polar=", name(o.polar),
         " is none; use another polar or balance=none");
  if (o.balance == Balance::leverage && o.polar == Polar::turbo4)
    fail(c.name,
         ": balance=leverage foresees the exact polar factor's rows, but polar=turbo4 has "
         "others; use balance=published");
  const bool exact = o.polar == Polar::svd || o.polar == Polar::cans12 || o.polar == Polar::polar_express8 ||
                     o.polar == Polar::simple_quintic12;
  if (o.balance == Balance::riemannian && !exact)
    fail(c.name, ": balance=riemannian needs orthonormal columns, which polar=", name(o.polar),
         " leaves some way off; use cans12, polar_express8, simple_quintic12 or svd");
  if (c.contra > 0 && o.polar == Polar::identity)
    fail(c.name,
         ": contra takes a part of X away from its polar factor, but polar=identity has none "
         "and could end up with -X; use contra=0");
  const bool own_length = c.decay == Decay::hyperball || c.decay == Decay::uw_floor;
  if (own_length && c.weight_decay > 0)
    fail(c.name, ": decay=", name(c.decay), " replaces the decay, but weight_decay is ", c.weight_decay,
         "; set it to 0");
  if (c.decay == Decay::hyperball && (c.scale != Scale::none || c.alpha != 1))
    fail(c.name, ": decay=hyperball sets the update's length itself, so scale=", name(c.scale), " and alpha=", c.alpha,
         " would be lost; use scale=none and alpha=1");
  if (c.scale == Scale::update_rms && c.restore != Restore::none)
    fail(c.name, ": scale=update_rms and restore=", name(c.restore),
         " both set the update's length; leave one of them out");
}

}  // namespace borealis
